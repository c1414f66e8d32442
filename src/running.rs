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
pub struct Running<K, V>(Mutex<HashMap<K, Call<V>>>);

/// A running call.
struct Call<V> {
    result: Arc<OnceCell<V>>,
    callers: usize,
}

/// A caller of a running call.
struct Caller<'a, K: Eq + Hash, V> {
    calls: &'a Running<K, V>,
    key: K,
    result: Arc<OnceCell<V>>,
}

impl<K, V> Default for Running<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> Default for Call<V> {
    fn default() -> Self {
        Self { result: Arc::default(), callers: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Running<K, V> {
    /// Makes the call, or waits for the running call with the same `key`. If the caller that makes the call is cancelled,
    /// another waiting caller makes it. The future of `call` should be boxed if it is large, because every waiting caller has
    /// memory for it.
    pub async fn share<F: Future<Output = V>>(&self, key: K, call: impl FnOnce() -> F) -> V {
        let caller = self.enter(key);
        caller.result.get_or_init(call).await.clone()
    }

    fn enter(&self, key: K) -> Caller<'_, K, V> {
        let mut calls = self.lock();
        let call = calls.entry(key.clone()).or_default();
        call.callers += 1;
        Caller { calls: self, key, result: call.result.clone() }
    }
}

impl<K: Eq + Hash, V> Running<K, V> {
    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Call<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Drop for Caller<'_, K, V> {
    /// Removes the call if it has ended, or if no caller waits for it any more.
    fn drop(&mut self) {
        let mut calls = self.calls.lock();
        // If this call was removed, the map can have a later one with the same key.
        let Some(call) = calls.get_mut(&self.key).filter(|call| Arc::ptr_eq(&call.result, &self.result)) else {
            return;
        };
        call.callers -= 1;
        if call.callers == 0 || call.result.initialized() {
            calls.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use futures::FutureExt;
    use futures::future::join3;

    use super::*;

    #[tokio::test]
    async fn one_of_the_callers_makes_the_call_and_then_it_is_removed() {
        let (running, calls) = (Running::default(), Cell::new(0));
        let call = async || {
            tokio::task::yield_now().await;
            calls.set(calls.get() + 1);
            calls.get()
        };
        let share = || running.share("key", call);
        assert_eq!(join3(share(), share(), running.share("other", call)).await, (1, 1, 2));
        assert_eq!(share().await, 3);
        assert!(running.lock().is_empty());
    }

    #[tokio::test]
    async fn a_cancelled_call_is_made_by_another_caller_or_removed() {
        let running = Running::default();
        let mut cancelled = Box::pin(running.share("key", pending::<u32>));
        assert_eq!((&mut cancelled).now_or_never(), None);
        let mut waiting = Box::pin(running.share("key", || ready(7)));
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(cancelled);
        assert_eq!(waiting.await, 7);
        let mut cancelled = Box::pin(running.share("key", pending::<u32>));
        assert_eq!((&mut cancelled).now_or_never(), None);
        drop(cancelled);
        assert!(running.lock().is_empty());
    }
}
