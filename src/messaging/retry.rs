//! Retries of writes, in addition to those of the SDK, if DynamoDB is unavailable or other transactions write the same items.
//!
//! Only idempotent writes are retried, because a write whose response was lost may have been executed.

use std::time::{Duration, Instant};

use super::error::MessagingError;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::TableError;

/// Maximum number of attempts of one write.
const MAX_ATTEMPTS: u32 = 6;
/// Time since the first attempt after which a failed attempt is not repeated, because a client is waiting for the response.
const MAX_ELAPSED: Duration = Duration::from_secs(6);
const FIRST_WAIT: Duration = Duration::from_millis(40);
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Counts the attempts of one write and waits between them.
pub(super) struct Retry<'a> {
    environment: &'a dyn Environment,
    started: Instant,
    attempts: u32,
    backoff: Backoff,
    /// Whether a failed attempt may have been executed.
    outcome_unknown: bool,
}

impl<'a> Retry<'a> {
    /// Begins before the first attempt of a write.
    pub(super) fn new(environment: &'a dyn Environment) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        Self { environment, started: environment.monotonic(), attempts: 0, backoff, outcome_unknown: false }
    }

    /// Runs an idempotent write until it succeeds, fails permanently, or no attempt is left.
    pub(super) async fn run<T, F>(
        environment: &'a dyn Environment,
        mut write: impl FnMut() -> F,
    ) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        let mut retry = Self::new(environment);
        loop {
            match write().await {
                Ok(written) => return Ok(written),
                Err(error) => retry.after_error(error).await?,
            }
        }
    }

    /// Like [`Retry::run`], for a write that precedes the write of the message. If it fails, the message was not stored.
    pub(super) async fn run_before_message<T, F>(
        environment: &'a dyn Environment,
        write: impl FnMut() -> F,
    ) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        Self::run(environment, write).await.map_err(|error| match error {
            MessagingError::Unavailable { source, .. } => {
                MessagingError::Unavailable { source, outcome_unknown: false }
            }
            error => error,
        })
    }

    /// Waits before the next attempt. Returns `error` if it is permanent or no attempt is left. If an earlier attempt may have
    /// been executed, a permanent error is returned as [`MessagingError::Unavailable`] with an unknown outcome.
    pub(super) async fn after_error(&mut self, error: TableError) -> Result<(), MessagingError> {
        if !error.is_unavailable() && !self.outcome_unknown {
            return Err(error.into());
        }
        self.outcome_unknown = true;
        if error.is_unavailable() && self.wait().await {
            return Ok(());
        }
        Err(MessagingError::Unavailable { source: Box::new(error), outcome_unknown: true })
    }

    /// Waits before the next attempt after a conflict with another transaction. Returns an error if no attempt is left.
    pub(super) async fn after_conflict(&mut self) -> Result<(), MessagingError> {
        if self.wait().await {
            return Ok(());
        }
        let source = format!("all {} attempts conflicted with other transactions", self.attempts).into();
        Err(MessagingError::Unavailable { source, outcome_unknown: self.outcome_unknown })
    }

    /// Waits before the next attempt. Returns `false` without waiting if no attempt is left.
    async fn wait(&mut self) -> bool {
        self.attempts += 1;
        let elapsed = self.environment.monotonic().saturating_duration_since(self.started);
        if self.attempts >= MAX_ATTEMPTS || elapsed > MAX_ELAPSED {
            return false;
        }
        tokio::time::sleep(self.backoff.next(self.environment)).await;
        true
    }
}
