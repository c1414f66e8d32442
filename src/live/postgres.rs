//! The broker that uses `LISTEN` and `NOTIFY` of PostgreSQL.
//!
//! Notifications are sent through the pool of the process. One further connection listens. A connection pooler in
//! transaction mode accepts `LISTEN` but delivers nothing, and a network can lose a connection silently. Therefore the
//! listener sends a test to itself every [`TEST_INTERVAL`]. If the test does not arrive, the listener reports that hints
//! are lost, and connects again.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Live;
use super::broker::{Broker, Received, receive, test_text};
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::report;
use crate::users::UsersError;
use crate::users::connection::{Connection, until};

/// Name of the channel. Several deployments may share a database and therefore the channel, because a hint for an unknown
/// user is ignored.
pub const CHANNEL: &str = "cruddur_messaging";
/// How often the listener tests that notifications arrive.
const TEST_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum time to connect, to send a notification, and to receive a test.
const TIMEOUT: Duration = Duration::from_secs(5);
/// First and maximum wait between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Sends notifications.
pub struct PostgresBroker {
    pool: PgPool,
}

/// Receives notifications.
pub struct PostgresListener {
    /// The database to which the listener connects. The address must not be that of a connection pooler in transaction mode.
    pub target: PgConnectOptions,
    /// Sends the tests.
    pub broker: Arc<PostgresBroker>,
    /// Identifies this process. No other process has the same value.
    pub process: Uuid,
    /// Receives the hints.
    pub live: Arc<Live>,
    /// Jitter of the waits between attempts to connect.
    pub environment: Arc<dyn Environment>,
}

/// Why hints do not arrive.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Send(#[from] UsersError),
    #[error("PostgreSQL did not respond within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
    #[error("the connection was lost")]
    ConnectionLost,
    #[error(
        "a notification of this process did not arrive; DATABASE_LISTEN_URL must not lead to a connection pooler in transaction mode"
    )]
    NothingArrives,
}

impl PostgresBroker {
    /// A broker that sends notifications through the connections of `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

impl Broker for PostgresBroker {
    type Error = UsersError;

    /// PostgreSQL documentation, `NOTIFY`: the payload must be shorter than 8,000 bytes.
    const MAX_TEXT_BYTES: usize = 7_999;

    async fn send(&self, text: &str) -> Result<(), UsersError> {
        let mut connection = Connection::acquire(&self.pool, TIMEOUT).await?;
        let query = sqlx::query_file!("sql/notify.sql", CHANNEL, text);
        until(connection.limit(), query.fetch_one(&mut *connection)).await?;
        Ok(())
    }
}

impl PostgresListener {
    /// Listens until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen_for_ever() => {}
        }
    }

    async fn listen_for_ever(&self) {
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        loop {
            let Err(error) = self.listen(&mut backoff).await;
            self.live.listening().lost();
            tracing::warn!(error = report(&error), "hints from other processes do not arrive, reconnecting");
            sleep(backoff.next(&*self.environment)).await;
        }
    }

    /// Listens until an error shows that hints no longer arrive. Resets `backoff` each time a test has arrived.
    async fn listen(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, ListenError> {
        let connect = async {
            // Each connection has a pool of its own, because sqlx waits for the server before it returns a connection to its
            // pool: <https://github.com/transact-rs/sqlx/issues/4349>.
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.target.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let mut listener = timeout(TIMEOUT, connect).await.map_err(|_| ListenError::TimedOut)??;
        listener.eager_reconnect(false);
        for test in 0.. {
            let sent_at = Instant::now();
            self.broker.send(&test_text(self.process, test)).await?;
            let mut deadline = Instant::now() + TIMEOUT;
            let mut has_arrived = false;
            loop {
                let Ok(received) = timeout_at(deadline, listener.try_recv()).await else { break };
                let Some(notification) = received? else { return Err(ListenError::ConnectionLost) };
                let Received { test: own_test, heads, activities } = receive(notification.payload(), self.process);
                self.live.received(heads, activities, self.environment.monotonic());
                if own_test == Some(test) {
                    self.live.listening().established();
                    *backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
                    (deadline, has_arrived) = (sent_at + TEST_INTERVAL, true);
                }
            }
            if !has_arrived {
                return Err(ListenError::NothingArrives);
            }
        }
        Err(ListenError::NothingArrives)
    }
}
