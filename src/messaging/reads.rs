//! The reads of one request. Identical reads that run at the same time are one read, so aliases that repeat a field cost
//! nothing. A read that begins after an identical one has ended runs again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use tokio::sync::OnceCell;

use super::cursor::{GroupCursor, MessageCursor};
use super::error::MessagingError;
use super::groups::GroupView;
use super::history::Window;
use super::membership::{Member, ReadAccess};
use super::page::{Page, PageRequest};
use super::service::Messaging;
use crate::messages_table::Message;
use crate::model::{MessageGroupUuid, User, UserUuid};

/// The error of a read, which all fields that wait for the read get.
pub type ReadError = Arc<MessagingError>;

/// A page of a user's message groups, each with its cursor.
pub type GroupPage = Page<(GroupCursor, GroupView)>;

/// A page of a group's messages, each with its cursor.
pub type MessagePage = Page<(MessageCursor, Message)>;

/// The reads of one request.
pub struct RequestReads {
    messaging: Messaging,
    group_pages: Running<(UserUuid, PageRequest), GroupPage>,
    groups: Running<(UserUuid, MessageGroupUuid), Option<GroupView>>,
    members: Running<(UserUuid, MessageGroupUuid), Member>,
    message_pages: Running<(ReadAccess, PageRequest, Window), MessagePage>,
}

impl RequestReads {
    /// The reads of one request by these rules: see [`Messaging::for_query`] and [`Messaging::for_mutation`].
    pub fn new(messaging: Messaging) -> Self {
        Self {
            messaging,
            group_pages: Running::default(),
            groups: Running::default(),
            members: Running::default(),
            message_pages: Running::default(),
        }
    }

    /// The rules.
    pub fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    /// See [`Messaging::message_groups`].
    pub async fn message_groups(&self, user: &Arc<User>, page: PageRequest) -> Result<GroupPage, ReadError> {
        let read = || async { Ok(self.messaging.message_groups(user, page.clone()).await?) }.boxed();
        self.group_pages.read((user.uuid, page.clone()), read).await
    }

    /// Returns the group `uuid`, or `None` when it does not exist or the user is not a participant.
    pub async fn message_group(
        &self,
        user: &Arc<User>,
        uuid: MessageGroupUuid,
    ) -> Result<Option<GroupView>, ReadError> {
        let read = || {
            async {
                match self.member(user, uuid).await {
                    Ok(member) => Ok(self.messaging.message_group(&member).await?),
                    Err(error) if matches!(*error, MessagingError::NoSuchGroup) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            .boxed()
        };
        self.groups.read((user.uuid, uuid), read).await
    }

    /// See [`Messaging::member`].
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, ReadError> {
        let read = || async { Ok(self.messaging.member(user, group).await?) }.boxed();
        self.members.read((user.uuid, group), read).await
    }

    /// See [`Messaging::messages`].
    pub async fn messages(
        &self,
        access: ReadAccess,
        page: PageRequest,
        window: Window,
    ) -> Result<MessagePage, ReadError> {
        let read = || async { Ok(self.messaging.messages(access, page.clone(), window).await?) }.boxed();
        self.message_pages.read((access, page.clone(), window), read).await
    }
}

/// The reads that run, each with its result for all fields that wait for it.
type RunningReads<K, T> = HashMap<K, Arc<OnceCell<Result<Arc<T>, ReadError>>>>;

/// The reads of one kind that run at the moment, by what they read.
///
/// A read is removed when it ends. So a later one, for example after a write of the same request, reads again, and nothing
/// is kept in memory.
struct Running<K, T>(Mutex<RunningReads<K, T>>);

impl<K, T> Default for Running<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Running<K, T> {
    /// Runs `read`, or waits for the read of the same `key` that runs already. If the request gives up the field that runs
    /// it, another one runs it. The future of the read is boxed, because it is large and most fields may wait for another.
    async fn read<'a>(
        &self,
        key: K,
        read: impl FnOnce() -> BoxFuture<'a, Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let running = self.lock().entry(key.clone()).or_default().clone();
        let result = running.get_or_init(|| read().map_ok(Arc::new)).await.clone();
        self.lock().remove(&key);
        drop(running);
        // Clones only if other fields wait for the same read.
        result.map(Arc::unwrap_or_clone)
    }

    fn lock(&self) -> MutexGuard<'_, RunningReads<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
