//! Whether the consumer of this process gets on, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::source::ShardId;
use crate::metrics;

/// How long records of a shard may wait without progress, or the shards go unseen, before this process counts as not ready.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The shards that this process reads.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the shards and their leases were last looked at with success.
    looked: Instant,
    shards: BTreeMap<ShardId, Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Since when something waits and nothing of it got on.
    stalled: Option<Instant>,
    /// When something began to wait.
    waiting: Option<Instant>,
    /// How old the oldest of what waits was then.
    age: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State { looked: Instant::now(), shards: BTreeMap::new() }))
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shards and their leases could be looked at.
    pub(super) fn looked(&self) {
        self.lock().looked = Instant::now();
    }

    /// The shard is read now, and nothing of it waits.
    pub(super) fn progressed(&self, shard: &str) {
        let mut state = self.lock();
        state.shards.insert(shard.to_owned(), Progress::default());
        metrics::active_shards(state.shards.len());
        metrics::lag(shard, Duration::ZERO);
    }

    /// Something of the shard waits, or it cannot be read; the oldest record known of is so old.
    pub(super) fn waits(&self, shard: &str, age: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        let progress = state.shards.entry(shard.to_owned()).or_default();
        progress.stalled.get_or_insert(now);
        if progress.waiting.is_none() {
            (progress.waiting, progress.age) = (Some(now), age);
        }
    }

    /// Something of what waits got on.
    pub(super) fn moved(&self, shard: &str) {
        if let Some(progress) = self.lock().shards.get_mut(shard)
            && progress.stalled.is_some()
        {
            progress.stalled = Some(Instant::now());
        }
    }

    /// The shard is not this process's any more.
    pub(super) fn left(&self, shard: &str) {
        let mut state = self.lock();
        state.shards.remove(shard);
        metrics::active_shards(state.shards.len());
        metrics::lag(shard, Duration::ZERO);
    }

    /// Shows the metrics how far behind each shard is now.
    pub(super) fn show(&self) {
        let state = self.lock();
        metrics::active_shards(state.shards.len());
        for (shard, progress) in &state.shards {
            metrics::lag(shard, progress.waiting.map_or(Duration::ZERO, |since| progress.age + since.elapsed()));
        }
    }

    /// What has made no progress for too long.
    pub fn stuck(&self) -> Option<String> {
        let state = self.lock();
        if state.looked.elapsed() > STUCK_AFTER {
            return Some("the shards cannot be looked at".to_owned());
        }
        let stuck = |progress: &Progress| progress.stalled.is_some_and(|since| since.elapsed() > STUCK_AFTER);
        let shard = state.shards.iter().find(|(_, progress)| stuck(progress));
        shard.map(|(shard, _)| format!("shard {shard} makes no progress"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_stuck_when_its_records_wait_for_too_long() {
        let health = Health::default();
        let later = async |by: Duration| {
            tokio::time::advance(by).await;
            health.looked();
        };
        let stuck = || health.stuck().is_some_and(|what| what.contains("shard b"));
        health.progressed("a");
        health.waits("b", Duration::ZERO);
        later(STUCK_AFTER).await;
        health.waits("b", Duration::ZERO);
        assert!(!stuck());
        later(Duration::from_secs(1)).await;
        assert!(stuck());
        health.moved("b");
        assert!(!stuck(), "a large batch gets on");
        later(STUCK_AFTER * 2).await;
        assert!(stuck());
        health.progressed("b");
        health.moved("b");
        later(STUCK_AFTER * 2).await;
        assert!(!stuck(), "nothing waits");
        health.waits("b", Duration::ZERO);
        later(STUCK_AFTER * 2).await;
        health.left("b");
        assert_eq!(health.stuck(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_cannot_see_the_shards_is_stuck() {
        let health = Health::default();
        tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
        assert!(health.stuck().is_some());
        health.looked();
        assert_eq!(health.stuck(), None);
    }
}
