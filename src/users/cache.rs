//! A bounded cache whose entries are good for a few seconds.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::metrics::CacheCounts;

/// How long an entry is good, from before it was asked for. With the time a request may take on top, a changed name is
/// shown everywhere within five seconds.
const GOOD_FOR: Duration = Duration::from_secs(3);

/// Values by key, forgotten after a while or when there are too many.
pub struct TtlCache<K, V> {
    counts: CacheCounts,
    entries: Cache<K, (Instant, V)>,
}

impl<K: Hash + Eq, V: Clone> TtlCache<K, V> {
    /// A cache of at most `capacity` entries, called `name` in the metrics.
    pub fn new(name: &'static str, capacity: usize) -> Self {
        Self { counts: CacheCounts::new(name), entries: Cache::new(capacity) }
    }

    /// The moment to hand to [`TtlCache::insert`], taken before the store is asked.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The value, while it is good, for whoever calls [`TtlCache::get`] next when there is none.
    pub fn peek(&self, key: &K) -> Option<V> {
        let found = self.good(key);
        if found.is_some() {
            self.counts.count(true);
        }
        found
    }

    /// The value, while it is good.
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
        self.entries.get(key).filter(|(asked, _)| asked.elapsed() < GOOD_FOR).map(|(_, value)| value)
    }

    /// Keeps a value that the store was asked for at `asked`.
    pub fn insert(&self, key: K, value: V, asked: Instant) {
        self.entries.insert(key, (asked, value));
    }
}
