//! What the readers of all shards of one process share.

use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::lease::NewLease;
use super::source::Shard;
use crate::backoff::Backoff;
use crate::environment::Environment;

/// The seams of the consumer, its clock and its health.
pub struct Parts<S, T, R> {
    /// The stream.
    pub source: S,
    /// Leases and set-aside records.
    pub table: T,
    /// The rows of message groups.
    pub rows: R,
    /// Time and randomness.
    pub environment: Arc<dyn Environment>,
    /// How long the stream keeps records.
    pub retention: Duration,
    /// Whether the consumer makes progress.
    pub health: Arc<Health>,
}

/// The waits between retries of a call that must succeed at last.
pub fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}

impl<S, T, R> Parts<S, T, R> {
    /// Now, in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.environment.now().timestamp_millis()
    }

    /// Whether records that came into the stream after `since` can be trimmed now. An unknown `since` does not count. The
    /// clocks of two machines are compared here; they differ by less than a tenth of the retention.
    pub fn may_be_trimmed(&self, since: Option<i64>) -> bool {
        let age = since.map_or(0, |since| self.now().saturating_sub(since));
        u128::try_from(age).is_ok_and(|age| age > self.retention.as_millis() * 9 / 10)
    }

    /// A lease for a shard whose records are younger than `since`, or younger than now if that is unknown.
    pub fn new_lease(&self, shard: Shard, since: Option<i64>, is_behind_gap: bool) -> NewLease {
        NewLease { shard, created_at: since.unwrap_or_else(|| self.now()), is_behind_gap }
    }
}
