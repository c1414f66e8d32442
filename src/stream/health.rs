//! Whether the consumer of this process makes progress: for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ids::ShardId;
use crate::metrics;

/// Time without progress of a shard, or without a successful read of the leases or the list of shards, after which this
/// process is not ready.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The progress of the shards that this process reads, and of the repair.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Time at which the leases were last read.
    looked: Instant,
    /// Time at which the shards were last listed.
    listed: Instant,
    shards: BTreeMap<ShardId, ShardState>,
    /// Time at which the repair last made progress. `None` unless this process runs the repair.
    repaired: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ShardState {
    /// Time since which records wait without progress. `None` if no records wait.
    stalled: Option<Instant>,
    /// Time at which `age` was measured. `None` if no records wait.
    waiting: Option<Instant>,
    /// Maximum age of the oldest waiting record at that time.
    age: Duration,
}

impl ShardState {
    /// Maximum age of the oldest waiting record now.
    fn lag(&self) -> Duration {
        self.waiting.map_or(Duration::ZERO, |since| self.age + since.elapsed())
    }
}

impl Default for Health {
    fn default() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { looked: now, listed: now, shards: BTreeMap::new(), repaired: None }))
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the leases were read.
    pub(super) fn looked(&self) {
        self.lock().looked = Instant::now();
    }

    /// Records that the shards were listed.
    pub(super) fn listed(&self) {
        self.lock().listed = Instant::now();
    }

    /// Records that the shard is read up to a record of the age `last`. The records that wait are younger. `None` if no records
    /// wait.
    pub(super) fn progressed(&self, shard: &ShardId, last: Option<Duration>) {
        let mut state = self.lock();
        let waiting = last.map(|_| Instant::now());
        let progress = ShardState { stalled: None, waiting, age: last.unwrap_or_default() };
        state.shards.insert(shard.clone(), progress);
        metrics::active_shards(state.shards.len());
        metrics::lag(shard, progress.age);
    }

    /// Records that records of the shard wait. `age` is the age of the oldest one, or `None` if the shard cannot be read.
    pub(super) fn waits(&self, shard: &ShardId, age: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.lock();
        let progress = state.shards.entry(shard.clone()).or_default();
        progress.stalled.get_or_insert(now);
        if age.is_some() || progress.waiting.is_none() {
            (progress.waiting, progress.age) = (Some(now), age.unwrap_or_default());
        }
        metrics::lag(shard, progress.lag());
    }

    /// Records that a part of the waiting records was processed.
    pub(super) fn moved(&self, shard: &ShardId) {
        if let Some(progress) = self.lock().shards.get_mut(shard)
            && progress.stalled.is_some()
        {
            progress.stalled = Some(Instant::now());
        }
    }

    /// Records that this process does not read the shard any more.
    pub(super) fn left(&self, shard: &ShardId) {
        let mut state = self.lock();
        state.shards.remove(shard);
        metrics::active_shards(state.shards.len());
        metrics::lag(shard, Duration::ZERO);
    }

    /// Records that this process has taken the repair, or has repaired a group.
    pub(super) fn repair_progressed(&self) {
        self.lock().repaired = Some(Instant::now());
        metrics::repairing(true);
    }

    /// Records that this process does not repair any more.
    pub(super) fn repair_left(&self) {
        self.lock().repaired = None;
        metrics::repairing(false);
    }

    /// Writes the lag of each shard, and whether this process repairs, to the metrics.
    pub(super) fn record(&self) {
        let state = self.lock();
        metrics::repairing(state.repaired.is_some());
        metrics::active_shards(state.shards.len());
        for (shard, progress) in &state.shards {
            metrics::lag(shard, progress.lag());
        }
    }

    /// Returns a description of the first part that has made no progress for [`STUCK_AFTER`], or `None`.
    pub fn stuck(&self) -> Option<String> {
        let state = self.lock();
        if state.looked.elapsed() > STUCK_AFTER {
            return Some("the leases cannot be read".to_owned());
        }
        if state.listed.elapsed() > STUCK_AFTER {
            return Some("the shards cannot be listed".to_owned());
        }
        if state.repaired.is_some_and(|since| since.elapsed() > STUCK_AFTER) {
            return Some("the repair after a gap makes no progress".to_owned());
        }
        let stuck = |progress: &ShardState| progress.stalled.is_some_and(|since| since.elapsed() > STUCK_AFTER);
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
        health.progressed(&"a".into(), None);
        health.waits(&"b".into(), None);
        later(STUCK_AFTER).await;
        health.waits(&"b".into(), None);
        assert!(!stuck());
        later(Duration::from_secs(1)).await;
        assert!(stuck());
        health.moved(&"b".into());
        assert!(!stuck(), "a large batch gets on");
        later(STUCK_AFTER * 2).await;
        assert!(stuck());
        health.progressed(&"b".into(), Some(Duration::ZERO));
        health.moved(&"b".into());
        later(STUCK_AFTER * 2).await;
        assert!(!stuck(), "nothing waits");
        health.waits(&"b".into(), None);
        later(STUCK_AFTER * 2).await;
        health.left(&"b".into());
        assert_eq!(health.stuck(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_is_stuck_when_no_group_is_repaired_for_too_long() {
        let health = Health::default();
        let later = async || {
            tokio::time::advance(STUCK_AFTER + Duration::from_secs(1)).await;
            health.looked();
            health.listed();
            health.stuck().is_some_and(|what| what.contains("repair"))
        };
        assert!(!later().await, "nothing is repaired");
        health.repair_progressed();
        assert!(later().await);
        health.repair_progressed();
        assert_eq!(health.stuck(), None);
        health.repair_left();
        assert!(!later().await);
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
        let lag = || health.lock().shards[&"a".into()].lag();
        health.waits(&"a".into(), Some(seconds(100)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!(lag(), seconds(101));
        health.progressed(&"a".into(), Some(seconds(90)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!(lag(), seconds(91), "what follows is younger than what was read");
        health.waits(&"a".into(), Some(seconds(80)));
        health.waits(&"a".into(), None);
        assert_eq!(lag(), seconds(80));
        health.progressed(&"a".into(), None);
        assert_eq!(lag(), seconds(0));
    }
}
