//! A bounded cache whose entries expire after a few seconds.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::environment::Environment;
use crate::metrics::CacheCounts;

/// Lifetime of an entry, counted from the start of its request to the store. Together with the duration of a request, a changed
/// name is shown everywhere within five seconds.
const TIME_TO_LIVE: Duration = Duration::from_secs(3);

/// Values by key. An expired value is not returned. It stays in memory until it is replaced, or until there are too many.
pub struct TtlCache<K, V> {
    counts: CacheCounts,
    environment: Arc<dyn Environment>,
    entries: Cache<K, (Instant, V)>,
}

impl<K: Hash + Eq, V: Clone> TtlCache<K, V> {
    /// A cache of at most `capacity` entries, called `name` in the metrics.
    pub fn new(name: &'static str, capacity: usize, environment: Arc<dyn Environment>) -> Self {
        Self { counts: CacheCounts::new(name), environment, entries: Cache::new(capacity) }
    }

    /// The time to pass to [`TtlCache::insert`], taken before the request to the store.
    pub fn now(&self) -> Instant {
        self.environment.monotonic()
    }

    /// The value, if it is cached. A miss is not counted, because the caller uses [`TtlCache::get`] then.
    pub fn peek(&self, key: &K) -> Option<V> {
        let found = self.fresh(key);
        if found.is_some() {
            self.counts.count(true);
        }
        found
    }

    /// The value, if it is cached.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.fresh(key);
        self.counts.count(found.is_some());
        found
    }

    fn fresh<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let is_fresh = |requested: Instant| self.now().duration_since(requested) < TIME_TO_LIVE;
        self.entries.get(key).filter(|(requested, _)| is_fresh(*requested)).map(|(_, value)| value)
    }

    /// Caches a value that was requested at `requested`.
    pub fn insert(&self, key: K, value: V, requested: Instant) {
        self.entries.insert(key, (requested, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemEnvironment;

    #[tokio::test(start_paused = true)]
    async fn an_entry_expires_after_its_time_to_live_counted_from_the_request() {
        let cache = TtlCache::new("test", 10, Arc::new(SystemEnvironment));
        let requested = cache.now();
        tokio::time::advance(TIME_TO_LIVE - Duration::from_millis(1)).await;
        cache.insert(1, "one", requested);
        assert_eq!(cache.get(&1), Some("one"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&1), None);
    }
}
