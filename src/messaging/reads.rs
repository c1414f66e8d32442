//! The reads of one request. Fields that need the same read at the same time share it, so aliases that repeat a field
//! cause no further read. A read that begins after an identical one has ended runs again.

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

/// The error of a read. All fields that wait for the read receive it.
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
    /// Creates the reads of one request. `messaging` comes from [`Messaging::for_query`] or
    /// [`Messaging::for_mutation`].
    pub fn new(messaging: Messaging) -> Self {
        Self {
            messaging,
            group_pages: Running::default(),
            groups: Running::default(),
            members: Running::default(),
            message_pages: Running::default(),
        }
    }

    /// Returns the messaging rules, with the limits of this request.
    pub fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    /// See [`Messaging::message_groups`].
    pub async fn message_groups(&self, user: &Arc<User>, page: PageRequest) -> Result<GroupPage, ReadError> {
        let read = || async { Ok(self.messaging.message_groups(user, page.clone()).await?) }.boxed();
        self.group_pages.read((user.uuid, page.clone()), read).await
    }

    /// Returns the group `uuid`, or `None` if it does not exist or the user is not a participant.
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

/// The running reads, each with a cell for the result that all waiting fields share.
type RunningReads<K, T> = HashMap<K, Arc<OnceCell<Result<Arc<T>, ReadError>>>>;

/// The running reads of one kind. The key says what is read.
///
/// A read is removed when it ends. So a later read, for example after a write of the same request, reads again, and no
/// results stay in memory.
struct Running<K, T>(Mutex<RunningReads<K, T>>);

impl<K, T> Default for Running<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Running<K, T> {
    /// Runs `read`, or waits for the running read of the same `key`. If the field that runs the read is cancelled,
    /// another waiting field runs it. The future of the read is boxed, because it is large and fields that only wait do
    /// not need it.
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
