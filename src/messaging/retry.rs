//! Retries of a write, after the SDK's own retries, while DynamoDB is unavailable or another transaction holds the items.

use std::time::{Duration, Instant};

use super::MessagingError;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::TableError;

/// Maximum number of attempts.
const MAX_ATTEMPTS: u32 = 6;
/// No attempt starts later than this after the first one, because a client waits for the response.
const MAX_DURATION: Duration = Duration::from_secs(6);
const FIRST_WAIT: Duration = Duration::from_millis(40);
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Counts the attempts of one write and waits between them.
pub(super) struct Retry<'a> {
    environment: &'a dyn Environment,
    start: Instant,
    attempts: u32,
    backoff: Backoff,
    /// Whether an attempt that failed may have written.
    outcome_unknown: bool,
}

impl<'a> Retry<'a> {
    pub(super) fn new(environment: &'a dyn Environment) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        Self { environment, start: environment.monotonic(), attempts: 0, backoff, outcome_unknown: false }
    }

    /// Runs an idempotent write until it succeeds or the retries are used up.
    pub(super) async fn write<T, F>(
        environment: &dyn Environment,
        mut write: impl FnMut() -> F,
    ) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        let mut retry = Retry::new(environment);
        loop {
            match write().await {
                Ok(done) => return Ok(done),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// The same for a write that comes before the message: if it fails, the message was not stored.
    pub(super) async fn before_message<T, F>(
        environment: &dyn Environment,
        write: impl FnMut() -> F,
    ) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        Self::write(environment, write).await.map_err(|error| match error {
            MessagingError::Unavailable { source, .. } => {
                MessagingError::Unavailable { source, outcome_unknown: false }
            }
            error => error,
        })
    }

    /// Waits before the next attempt after `error`, or gives up with it.
    pub(super) async fn after(&mut self, error: TableError) -> Result<(), MessagingError> {
        if !error.is_unavailable() && !self.outcome_unknown {
            return Err(error.into());
        }
        self.outcome_unknown = true;
        if error.is_unavailable() && self.wait().await {
            return Ok(());
        }
        Err(MessagingError::Unavailable { source: Box::new(error), outcome_unknown: true })
    }

    /// Waits before the next attempt after a conflict, or gives up.
    pub(super) async fn after_conflict(&mut self) -> Result<(), MessagingError> {
        if self.wait().await {
            return Ok(());
        }
        let source = "another transaction held the items at each attempt".into();
        Err(MessagingError::Unavailable { source, outcome_unknown: self.outcome_unknown })
    }

    async fn wait(&mut self) -> bool {
        self.attempts += 1;
        let duration = self.environment.monotonic().duration_since(self.start);
        if self.attempts >= MAX_ATTEMPTS || duration > MAX_DURATION {
            return false;
        }
        tokio::time::sleep(self.backoff.next(self.environment)).await;
        true
    }
}
