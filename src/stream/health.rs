//! Whether the consumer of this process gets on, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::source::ShardId;
use crate::metrics;

/// How long records of a shard may wait without progress before this process counts as not ready.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The shards that this process reads, and since when each has records that wait.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<ShardId, Option<Instant>>>);

impl Health {
    fn change(&self, change: impl FnOnce(&mut BTreeMap<ShardId, Option<Instant>>)) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut shards);
        metrics::active_shards(shards.len());
    }

    /// The shard is read now, and nothing of it waits.
    pub(super) fn progressed(&self, shard: &str) {
        self.change(|shards| {
            shards.insert(shard.to_owned(), None);
        });
    }

    /// Records of the shard wait, or it cannot be read.
    pub(super) fn waits(&self, shard: &str) {
        self.change(|shards| {
            shards.entry(shard.to_owned()).or_default().get_or_insert_with(Instant::now);
        });
    }

    /// The shard is not this process's any more.
    pub(super) fn left(&self, shard: &str) {
        self.change(|shards| {
            shards.remove(shard);
        });
    }

    /// A shard that has made no progress for too long while records wait.
    pub fn stuck(&self) -> Option<ShardId> {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() > STUCK_AFTER);
        shards.iter().find(|(_, since)| stuck(since)).map(|(shard, _)| shard.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_stuck_when_its_records_wait_for_too_long() {
        let health = Health::default();
        health.progressed("a");
        health.waits("b");
        tokio::time::advance(STUCK_AFTER).await;
        health.waits("b");
        assert_eq!(health.stuck(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.stuck().as_deref(), Some("b"));
        health.progressed("b");
        assert_eq!(health.stuck(), None);
        health.waits("b");
        tokio::time::advance(STUCK_AFTER * 2).await;
        health.left("b");
        assert_eq!(health.stuck(), None);
    }
}
