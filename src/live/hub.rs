//! Passes hints and activities to the subscriptions of this process, by user.
//!
//! A subscription has no queue of hints: a [`watch`] channel keeps only the newest position. A subscription that has not
//! read the older positions misses nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use tokio::sync::{Semaphore, broadcast, watch};

use super::activity::Activity;
use crate::messaging::{FeedCursor, FeedPage, MessagingError};
use crate::model::UserUuid;
use crate::task::in_task;

/// Maximum number of activities that wait for one subscription. If there are more, the oldest ones are lost.
const MAX_ACTIVITIES: usize = 16;
/// Maximum number of feed pages that subscriptions read at the same time, so that thousands of clients that reconnect leave
/// room for requests.
const CONCURRENT_READS: usize = 64;

/// What the subscriptions and connections of a user wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signal {
    /// The highest position in a hint. The feed has reached it, unless the table was restored from a backup.
    pub hinted: u64,
    /// The position of the last entry of the feed in the table, at the last comparison. `None` before the first comparison.
    pub checked: Option<u64>,
    /// Whether the user was deleted.
    pub is_gone: bool,
}

/// The read of a page of a feed.
type PageRead = BoxFuture<'static, Result<Arc<FeedPage>, Arc<MessagingError>>>;

/// Identifies a read: the place at which the page starts, and the signal that caused the read. A later signal needs a later read.
type PageKey = (FeedCursor, Signal);

/// The subscriptions and connections of all users in this process.
pub struct Hub {
    users: Mutex<HashMap<UserUuid, Entry>>,
    /// One permit for each feed page that a subscription reads.
    pub reads: Semaphore,
    /// The running reads of pages.
    pages: Mutex<HashMap<PageKey, WeakShared<PageRead>>>,
}

#[derive(Default)]
struct Entry {
    signal: watch::Sender<Signal>,
    activities: Option<broadcast::Sender<Activity>>,
    /// Number of guards of this entry.
    guards: usize,
    /// Number of guards that are connections.
    connections: usize,
}

/// Keeps the entry of a user in the hub. When the last guard of a user is dropped, the entry is removed.
struct Guard {
    hub: Arc<Hub>,
    user: UserUuid,
    is_connection: bool,
}

/// The signals of a user.
pub struct Signals {
    receiver: watch::Receiver<Signal>,
    /// The last signal for which [`Signals::moved`] returned.
    last: Signal,
    _guard: Guard,
}

/// The activities that a user receives.
pub struct Activities {
    receiver: broadcast::Receiver<Activity>,
    _guard: Guard,
}

impl Hub {
    /// A hub without subscriptions.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { users: Mutex::default(), reads: Semaphore::new(CONCURRENT_READS), pages: Mutex::default() })
    }

    /// Subscribes to the signals of a user.
    pub fn signals(self: &Arc<Self>, user: UserUuid) -> Signals {
        self.lock().entry(user).or_default().signals(self, user, false)
    }

    /// Registers a new connection of a user, which is a socket or an event stream, and subscribes it to the signals of the
    /// user. The connection counts until the returned value is dropped. Returns `None` if the user has `maximum` connections.
    pub fn connect(self: &Arc<Self>, user: UserUuid, maximum: usize) -> Option<Signals> {
        let mut users = self.lock();
        let entry = users.entry(user).or_default();
        (entry.connections < maximum).then(|| entry.signals(self, user, true))
    }

    /// Subscribes to the activities that a user receives.
    pub fn activities(self: &Arc<Self>, user: UserUuid) -> Activities {
        let mut users = self.lock();
        let entry = users.entry(user).or_default();
        let sender = entry.activities.get_or_insert_with(|| broadcast::Sender::new(MAX_ACTIVITIES));
        Activities { receiver: sender.subscribe(), _guard: entry.guard(self, user, false) }
    }

    /// Handles a hint: the feed of `user` has reached `position`.
    pub fn hint(&self, user: UserUuid, position: u64) {
        self.change(user, |signal| signal.hinted = signal.hinted.max(position));
    }

    /// Handles a comparison with the table: the last entry of the feed of `user` has this position.
    pub fn checked(&self, user: UserUuid, position: u64) {
        self.change(user, |signal| signal.checked = Some(position));
    }

    /// Ends the connections of a user who was deleted.
    pub fn gone(&self, user: UserUuid) {
        self.change(user, |signal| signal.is_gone = true);
    }

    /// Delivers an activity to the subscriptions of `recipient`.
    pub fn deliver(&self, recipient: UserUuid, activity: Activity) {
        let users = self.lock();
        if let Some(sender) = users.get(&recipient).and_then(|entry| entry.activities.as_ref()) {
            // The error means that no subscription receives activities.
            let _ = sender.send(activity);
        }
    }

    /// The users that have subscriptions or connections.
    pub fn users(&self) -> Vec<UserUuid> {
        self.lock().keys().copied().collect()
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.lock().values().map(|entry| entry.connections).sum()
    }

    /// Makes a read, or waits for the running read with the same `key`. The devices of a user get a signal at the same time, and
    /// share one read. It has a task of its own, so no device waits for another one that stands still.
    pub async fn share_read(
        &self,
        key: PageKey,
        read: impl Future<Output = <PageRead as Future>::Output> + Send + 'static,
    ) -> <PageRead as Future>::Output {
        let shared = {
            let mut pages = lock(&self.pages);
            let running = pages.get(&key).and_then(WeakShared::upgrade);
            running.unwrap_or_else(|| {
                let read = in_task(read).boxed().shared();
                // The map has no entry only for a read that has just ended.
                pages.extend(read.downgrade().map(|weak| (key.clone(), weak)));
                read
            })
        };
        let _ended = EndedRead { hub: self, key };
        shared.await
    }

    fn change(&self, user: UserUuid, change: impl FnOnce(&mut Signal)) {
        if let Some(entry) = self.lock().get(&user) {
            entry.signal.send_if_modified(|signal| {
                let before = *signal;
                change(signal);
                *signal != before
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserUuid, Entry>> {
        lock(&self.users)
    }
}

/// Ignores the poisoning of a lock, because a panic cannot leave an incomplete change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a read when one of its callers has the page, so that a later caller reads again. If a caller is cancelled, the others
/// go on, and only later callers do not share their read.
struct EndedRead<'a> {
    hub: &'a Hub,
    key: PageKey,
}

impl Drop for EndedRead<'_> {
    fn drop(&mut self) {
        lock(&self.hub.pages).remove(&self.key);
    }
}

impl Entry {
    fn guard(&mut self, hub: &Arc<Hub>, user: UserUuid, is_connection: bool) -> Guard {
        self.guards += 1;
        self.connections += usize::from(is_connection);
        Guard { hub: hub.clone(), user, is_connection }
    }

    fn signals(&mut self, hub: &Arc<Hub>, user: UserUuid, is_connection: bool) -> Signals {
        let guard = self.guard(hub, user, is_connection);
        Signals { receiver: self.signal.subscribe(), last: Signal::default(), _guard: guard }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut users = self.hub.lock();
        let Some(entry) = users.get_mut(&self.user) else { return };
        entry.guards -= 1;
        entry.connections -= usize::from(self.is_connection);
        if entry.guards == 0 {
            users.remove(&self.user);
        }
    }
}

impl Signals {
    /// Waits for a signal that says that the feed does not end at `position`. Returns only once for each signal, so a wrong
    /// signal causes one read and no more.
    pub async fn moved(&mut self, position: u64) {
        let last = self.last;
        let is_news = |signal: &Signal| {
            *signal != last && (signal.hinted > position || signal.checked.is_some_and(|checked| checked != position))
        };
        // This never fails, because the guard keeps the sender.
        if let Ok(signal) = self.receiver.wait_for(is_news).await {
            self.last = *signal;
        }
    }

    /// The signal that [`Signals::moved`] returned last.
    pub fn last(&self) -> Signal {
        self.last
    }

    /// Waits until the user is deleted.
    pub async fn gone(&mut self) {
        let _ = self.receiver.wait_for(|signal| signal.is_gone).await;
    }
}

impl Activities {
    /// Waits for the next activity. If more than [`MAX_ACTIVITIES`] wait, the oldest ones are lost.
    pub async fn next(&mut self) -> Activity {
        loop {
            match self.receiver.recv().await {
                Ok(activity) => return activity,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                // This never happens, because the guard keeps the sender.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
