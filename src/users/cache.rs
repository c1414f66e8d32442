//! A bounded cache whose entries expire after a few seconds.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::metrics::CacheCounts;

/// Lifetime of an entry, counted from the start of its request to the store. Together with the duration of a request, a changed
/// name is shown everywhere within five seconds.
const TIME_TO_LIVE: Duration = Duration::from_secs(3);

/// Values by key. They are removed when they expire or when there are too many.
pub struct TtlCache<K, V> {
    counts: CacheCounts,
    entries: Cache<K, (Instant, V)>,
}

impl<K: Hash + Eq, V: Clone> TtlCache<K, V> {
    /// A cache of at most `capacity` entries, called `name` in the metrics.
    pub fn new(name: &'static str, capacity: usize) -> Self {
        Self { counts: CacheCounts::new(name), entries: Cache::new(capacity) }
    }

    /// The time to pass to [`TtlCache::insert`], taken before the request to the store.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The value, if it is cached. A miss is not counted, because the caller uses [`TtlCache::get`] then.
    pub fn peek(&self, key: &K) -> Option<V> {
        let found = self.good(key);
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
        let found = self.good(key);
        self.counts.count(found.is_some());
        found
    }

    fn good<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key).filter(|(asked, _)| asked.elapsed() < TIME_TO_LIVE).map(|(_, value)| value)
    }

    /// Caches a value that was requested at `asked`.
    pub fn insert(&self, key: K, value: V, asked: Instant) {
        self.entries.insert(key, (asked, value));
    }
}
