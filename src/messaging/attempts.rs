//! Trying a write again when DynamoDB was unavailable or busy with the same items, after the SDK's own tries.

use std::time::{Duration, Instant};

use super::MessagingError;
use crate::messages_table::TableError;

/// How often a write is begun at most.
const MOST: u32 = 6;
/// How long after the first another is begun at most: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(6);
/// The first wait between two attempts, doubled each time, with up to as much again by chance.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// Counts the attempts of one write and waits between them.
pub(super) struct Attempts {
    begun: Instant,
    made: u32,
    /// Whether some attempt may have written although it failed.
    outcome_unknown: bool,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), made: 0, outcome_unknown: false }
    }

    /// Runs an idempotent write until it succeeds, or gives up.
    pub(super) async fn of<T, F>(mut write: impl FnMut() -> F) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        let mut attempts = Self::new();
        loop {
            match write().await {
                Ok(done) => return Ok(done),
                Err(error) => attempts.another_after(error).await?,
            }
        }
    }

    /// Likewise, of what is written before the message: where that fails, the message was not stored.
    pub(super) async fn beforehand<T, F>(write: impl FnMut() -> F) -> Result<T, MessagingError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        Self::of(write).await.map_err(|error| match error {
            MessagingError::Unavailable { source, .. } => {
                MessagingError::Unavailable { source, outcome_unknown: false }
            }
            error => error,
        })
    }

    /// Waits before another attempt after `error`, or gives up with it.
    pub(super) async fn another_after(&mut self, error: TableError) -> Result<(), MessagingError> {
        if !error.is_unavailable() && !self.outcome_unknown {
            return Err(error.into());
        }
        self.outcome_unknown = true;
        if error.is_unavailable() && self.wait().await {
            return Ok(());
        }
        Err(MessagingError::Unavailable { source: Box::new(error), outcome_unknown: true })
    }

    /// Waits before another attempt after a conflict, or gives up.
    pub(super) async fn another_after_conflict(&mut self) -> Result<(), MessagingError> {
        if self.wait().await {
            return Ok(());
        }
        let source = "another transaction held the items every time".into();
        Err(MessagingError::Unavailable { source, outcome_unknown: self.outcome_unknown })
    }

    async fn wait(&mut self) -> bool {
        self.made += 1;
        if self.made >= MOST || self.begun.elapsed() > PATIENCE {
            return false;
        }
        let wait = FIRST_WAIT * 2u32.pow(self.made - 1);
        tokio::time::sleep(wait.mul_f64(1.0 + rand::random::<f64>())).await;
        true
    }
}
