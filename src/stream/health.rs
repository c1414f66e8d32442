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
    /// When the leases were last looked at with success.
    looked: Instant,
    /// When the shards were last listed with success.
    listed: Instant,
    shards: BTreeMap<ShardId, Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Since when something waits and nothing of it got on.
    stalled: Option<Instant>,
    /// When something began to wait.
    waiting: Option<Instant>,
    /// How old the oldest of what waits was then, at most.
    age: Duration,
}

impl Progress {
    /// How old the oldest of what waits is now, at most.
    fn lag(&self) -> Duration {
        self.waiting.map_or(Duration::ZERO, |since| self.age + since.elapsed())
    }
}

impl Default for Health {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { looked: now, listed: now, shards: BTreeMap::new() }))
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leases could be looked at.
    pub(super) fn looked(&self) {
        self.lock().looked = Instant::now();
    }

    /// The shards could be listed.
    pub(super) fn listed(&self) {
        self.lock().listed = Instant::now();
    }

    /// The shard is read now, as far as a record of the age `behind`: what may wait is younger. Without one, nothing waits.
    pub(super) fn progressed(&self, shard: &str, behind: Option<Duration>) {
        let mut state = self.lock();
        let waiting = behind.map(|_| Instant::now());
        let progress = Progress { stalled: None, waiting, age: behind.unwrap_or_default() };
        state.shards.insert(shard.to_owned(), progress);
        metrics::active_shards(state.shards.len());
        metrics::lag(shard, progress.age);
    }

    /// Something of the shard waits, the oldest of it of this age; without one, the shard cannot be read.
    pub(super) fn waits(&self, shard: &str, age: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.lock();
        let progress = state.shards.entry(shard.to_owned()).or_default();
        progress.stalled.get_or_insert(now);
        if age.is_some() || progress.waiting.is_none() {
            (progress.waiting, progress.age) = (Some(now), age.unwrap_or_default());
        }
        metrics::lag(shard, progress.lag());
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
            metrics::lag(shard, progress.lag());
        }
    }

    /// What has made no progress for too long.
    pub fn stuck(&self) -> Option<String> {
        let state = self.lock();
        if state.looked.elapsed() > STUCK_AFTER {
            return Some("the leases cannot be looked at".to_owned());
        }
        if state.listed.elapsed() > STUCK_AFTER {
            return Some("the shards cannot be listed".to_owned());
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
            health.listed();
        };
        let stuck = || health.stuck().is_some_and(|what| what.contains("shard b"));
        health.progressed("a", None);
        health.waits("b", None);
        later(STUCK_AFTER).await;
        health.waits("b", None);
        assert!(!stuck());
        later(Duration::from_secs(1)).await;
        assert!(stuck());
        health.moved("b");
        assert!(!stuck(), "a large batch gets on");
        later(STUCK_AFTER * 2).await;
        assert!(stuck());
        health.progressed("b", Some(Duration::ZERO));
        health.moved("b");
        later(STUCK_AFTER * 2).await;
        assert!(!stuck(), "nothing waits");
        health.waits("b", None);
        later(STUCK_AFTER * 2).await;
        health.left("b");
        assert_eq!(health.stuck(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_cannot_see_the_shards_is_stuck() {
        let health = Health::default();
        tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
        health.looked();
        assert!(health.stuck().is_some());
        health.listed();
        assert_eq!(health.stuck(), None);
        tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
        health.listed();
        assert!(health.stuck().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_far_behind_does_not_look_caught_up_between_its_batches() {
        let health = Health::default();
        let seconds = Duration::from_secs;
        let lag = || health.lock().shards["a"].lag();
        health.waits("a", Some(seconds(100)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!(lag(), seconds(101));
        health.progressed("a", Some(seconds(90)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!(lag(), seconds(91), "what follows is younger than what was read");
        health.waits("a", Some(seconds(80)));
        health.waits("a", None);
        assert_eq!(lag(), seconds(80));
        health.progressed("a", None);
        assert_eq!(lag(), seconds(0));
    }
}
