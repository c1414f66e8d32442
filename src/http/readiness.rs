//! Checks whether the stores respond. Results are cached, because any client can request the readiness, and many requests
//! must not cause many reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;

use crate::messages_table::{MessagesTable, TableError};
use crate::report;
use crate::users::{Users, UsersError};

/// Maximum time for the response of a store.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time for which the result of a probe is valid.
const VALID_FOR: Duration = Duration::from_secs(1);
/// Time for which a result is returned while the next probe runs, so that requests do not wait for that probe.
const USABLE_FOR: Duration = VALID_FOR.saturating_add(TIMEOUT);

/// Why a store is not ready.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    DynamoDb(#[from] TableError),
    #[error(transparent)]
    Postgres(#[from] UsersError),
    #[error("no response within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
}

/// Probes the stores. One probe runs at a time.
pub struct Readiness {
    table: MessagesTable,
    users: Users,
    probes: Mutex<Probes>,
}

#[derive(Default)]
struct Probes {
    finished: Option<(Instant, StoresReady)>,
    running: Option<Probe>,
}

struct Probe {
    task: AbortHandle,
    result: Shared<BoxFuture<'static, StoresReady>>,
}

/// Which stores respond.
#[derive(Clone, Copy, Default)]
pub struct StoresReady {
    /// DynamoDB.
    pub dynamodb: bool,
    /// PostgreSQL.
    pub postgres: bool,
}

impl Readiness {
    /// Creates the readiness check of these stores.
    pub fn new(table: MessagesTable, users: Users) -> Arc<Self> {
        Arc::new(Self { table, users, probes: Mutex::default() })
    }

    /// Returns which stores respond. The result is at most [`VALID_FOR`] old, or [`USABLE_FOR`] while the next probe runs.
    pub async fn stores(self: &Arc<Self>) -> StoresReady {
        let result = {
            let mut probes = self.lock();
            let running = probes.running.as_ref().filter(|probe| !probe.task.is_finished());
            let usable_for = if running.is_some() { USABLE_FOR } else { VALID_FOR };
            if let Some((_, ready)) = probes.finished.filter(|(at, _)| at.elapsed() < usable_for) {
                return ready;
            }
            match running {
                Some(probe) => probe.result.clone(),
                None => {
                    let probe = Probe::start(self.clone());
                    let result = probe.result.clone();
                    probes.running = Some(probe);
                    result
                }
            }
        };
        result.await
    }

    async fn probe(&self) -> StoresReady {
        let table = within_timeout(async { Ok(self.table.ping().await?) });
        let users = within_timeout(async { Ok(self.users.ping().await?) });
        let (table, users) = futures::join!(table, users);
        for (part, result) in [("dynamodb", &table), ("postgres", &users)] {
            if let Err(error) = result {
                tracing::warn!(part, error = report(error), "a part of the server is not ready");
            }
        }
        let ready = StoresReady { dynamodb: table.is_ok(), postgres: users.is_ok() };
        self.lock().finished = Some((Instant::now(), ready));
        ready
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Starts a probe in a separate task, so that the probe continues if the client closes the connection.
    fn start(readiness: Arc<Readiness>) -> Self {
        let task = tokio::spawn(async move { readiness.probe().await });
        Self { task: task.abort_handle(), result: task.map(Result::unwrap_or_default).boxed().shared() }
    }
}

async fn within_timeout(ping: impl Future<Output = Result<(), NotReady>>) -> Result<(), NotReady> {
    tokio::time::timeout(TIMEOUT, ping).await.unwrap_or(Err(NotReady::TimedOut))
}
