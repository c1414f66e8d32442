//! Calls that are shared while they run: of several callers that need the same result at the same time, one makes the call.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

/// The running calls of one kind, each with a cell for its result. The key says what is called.
///
/// A call is removed when it ends. So a later caller, for example after a write of the same request, calls again, and no
/// results stay in memory.
pub struct Running<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Running<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Running<K, V> {
    /// Makes the call, or waits for the running call of the same `key`. If the caller that makes the call is cancelled, another
    /// waiting caller makes it. Callers that only wait do not need the future of the call, so a large one should be boxed.
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
