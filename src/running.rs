//! Calls that are shared while they run: if several callers need the same result at the same time, one of them makes the
//! call.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

/// The running calls of one kind, by keys that identify the calls.
///
/// A call is removed when it ends, so no results stay in memory, and a later caller makes a new call. A request that has
/// written something therefore never gets an older result.
pub struct Running<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Running<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Running<K, V> {
    /// Makes the call, or waits for the running call with the same `key`. If the caller that makes the call is cancelled,
    /// another waiting caller makes it. The future of `call` should be boxed if it is large, because every waiting caller has
    /// memory for it.
    pub async fn share<F: Future<Output = V>>(&self, key: K, call: impl FnOnce() -> F) -> V {
        let running = self.lock().entry(key.clone()).or_default().clone();
        let result = running.get_or_init(call).await.clone();
        self.lock().remove(&key);
        result
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<OnceCell<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
