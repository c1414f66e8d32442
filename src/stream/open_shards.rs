//! When this process last saw each shard open.
//!
//! The children of a shard get records only after it is closed. So if a process has read a shard to its end, all records until
//! the time at which the shard was last open are handled. No read shows this time: `GetRecords` returns empty pages also before
//! the end of a closed shard, and before later records of an open one.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ids::ShardId;
use super::source::Shard;

/// For each shard, the time at which it was last open, in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct OpenShards(Mutex<HashMap<ShardId, i64>>);

impl OpenShards {
    /// Records a listing of all shards, which was requested at the time `now`.
    pub fn listed(&self, shards: &[Shard], now: i64) {
        let listed: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let mut seen = self.lock();
        seen.retain(|shard, _| listed.contains(shard));
        seen.extend(shards.iter().filter(|shard| shard.is_open).map(|shard| (shard.id.clone(), now)));
    }

    /// Returns the time at which the shard was last open. `None` if this process never saw it open.
    pub fn last_open(&self, shard: &ShardId) -> Option<i64> {
        self.lock().get(shard).copied()
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, HashMap<ShardId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_shard_keeps_the_time_of_the_last_listing_that_showed_it_open() {
        let shard = |id: &str, is_open| Shard { id: id.into(), parent: None, is_open };
        let open_shards = OpenShards::default();
        open_shards.listed(&[shard("a", true), shard("b", true), shard("c", false)], 1);
        open_shards.listed(&[shard("a", true), shard("b", false), shard("c", false)], 2);
        let last = |shard: &str| open_shards.last_open(&shard.into());
        assert_eq!([last("a"), last("b"), last("c")], [Some(2), Some(1), None]);
        open_shards.listed(&[shard("a", true)], 3);
        assert_eq!([last("a"), last("b")], [Some(3), None], "a shard that the stream has forgotten is forgotten");
    }
}
