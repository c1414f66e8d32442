//! Connections to PostgreSQL that a hanging server or a silent network cannot block.
//!
//! sqlx waits without a limit for the server when it returns a connection to the pool, so each abandoned query could
//! cost the pool a connection for good: <https://github.com/transact-rs/sqlx/issues/4349>. In addition, sqlx has no
//! options for TCP keep-alive and `TCP_USER_TIMEOUT`: <https://github.com/transact-rs/sqlx/issues/3540>. Therefore this
//! module gives each use of a connection a time limit: the test before a query, the query, and the return to the pool.
//! A connection that exceeds a limit is closed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool, Postgres};
use tokio::time::{Instant, timeout, timeout_at};

use super::UsersError;
use super::error::is_of_connection;
use crate::metrics::{Limit, limit_reached};

/// Maximum time that a query waits for a connection. Includes the test of an idle connection, and connecting.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum time for the test of an idle connection. Shorter than `ACQUIRE_TIMEOUT`, so that time is left to open
/// another one.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Minimum time in which a connection that is returned to the pool must respond.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the URL of a database.
pub fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    // PgBouncer rejects this startup parameter by default. It concerns only floating-point numbers, which no query reads.
    Ok(PgConnectOptions::from_str(url)?.extra_float_digits(None))
}

/// Returns the options of a pool. PostgreSQL cancels a statement that takes longer than `statement_timeout`.
pub fn pool_options(max_connections: u32, statement_timeout: Option<Duration>) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // `before_acquire` does the same with a time limit.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async move { Ok(responds(connection).await) }))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                match statement_timeout {
                    Some(limit) => set_statement_timeout(connection, limit).await,
                    None => Ok(()),
                }
            })
        })
}

/// Whether an idle connection still works.
async fn responds(connection: &mut PgConnection) -> bool {
    let error = match timeout(TEST_TIMEOUT, connection.ping()).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => crate::report(&error),
        Err(_) => "no response".to_owned(),
    };
    tracing::info!(error, "an idle connection to PostgreSQL does not work, opening another one");
    false
}

/// Sets the limit with a statement, because connection poolers such as PgBouncer reject it as a startup parameter.
async fn set_statement_timeout(connection: &mut PgConnection, limit: Duration) -> sqlx::Result<()> {
    let limit = limit.as_millis().to_string();
    sqlx::query_file_scalar!("sql/set_statement_timeout.sql", limit).fetch_one(connection).await?;
    Ok(())
}

/// A connection of the pool for one query.
pub struct Connection {
    inner: PoolConnection<Postgres>,
    limit: QueryLimit,
}

/// The deadline of a query, and a flag that is set if an error shows that the connection must not be used again.
#[derive(Clone)]
pub struct QueryLimit {
    deadline: Instant,
    is_spoiled: Arc<AtomicBool>,
}

impl Connection {
    /// Acquires a connection for a query that may take at most `query_timeout`.
    pub async fn acquire(pool: &PgPool, query_timeout: Duration) -> Result<Self, UsersError> {
        let inner = pool.acquire().await?;
        let limit = QueryLimit { deadline: Instant::now() + query_timeout, is_spoiled: Arc::default() };
        Ok(Self { inner, limit })
    }

    /// Returns the limit of the query.
    pub fn limit(&self) -> QueryLimit {
        self.limit.clone()
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

impl Drop for Connection {
    /// Returns the connection to the pool, or closes it if the server does not respond in time. If the query was
    /// abandoned, the server has the rest of the query's time limit to complete or cancel it.
    fn drop(&mut self) {
        if self.limit.is_spoiled.load(Ordering::Relaxed) {
            self.inner.close_on_drop();
            return;
        }
        // `return_to_pool` is public but not documented. When its future is dropped, the connection is closed and the
        // pool can open another one.
        let returned = self.inner.return_to_pool();
        let deadline = self.limit.deadline.max(Instant::now() + RETURN_TIMEOUT);
        tokio::spawn(async move {
            if timeout_at(deadline, returned).await.is_err() {
                tracing::warn!("a connection to PostgreSQL does not respond, closing it");
            }
        });
    }
}

/// Whether this process or PostgreSQL cancelled the query because of its time limit.
fn is_over_time(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        // query_canceled. Source: PostgreSQL documentation, appendix A.
        sqlx::Error::Database(error) => error.code().as_deref() == Some("57014"),
        _ => false,
    }
}

/// Returns the result of a query, or an error if the query has not ended in time.
pub async fn until<T>(limit: QueryLimit, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, UsersError> {
    let result = timeout_at(limit.deadline, query).await.unwrap_or_else(|_| {
        let problem = "no response in time (DATABASE_STATEMENT_TIMEOUT_MS)";
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, problem)))
    });
    if result.as_ref().is_err_and(is_over_time) {
        limit_reached(Limit::DatabaseStatementTimeout);
    }
    if result.as_ref().is_err_and(is_of_connection) {
        limit.is_spoiled.store(true, Ordering::Relaxed);
    }
    Ok(result?)
}
