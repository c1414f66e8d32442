//! The reads of one request. Fields that need the same read at the same time share it, so aliases that repeat a field
//! cause no further read. If an identical read has already ended, a new one runs.

use std::hash::Hash;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};

use super::cursor::{GroupCursor, MessageCursor};
use super::error::MessagingError;
use super::groups::GroupView;
use super::history::Window;
use super::membership::{Member, ReadAccess};
use super::page::{Page, PageRequest};
use super::service::Messaging;
use crate::messages_table::Message;
use crate::model::{MessageGroupUuid, User, UserUuid};
use crate::running::Running;

/// The error of a read. All fields that wait for the read receive it.
pub type ReadError = Arc<MessagingError>;

/// A page of a user's message groups, each with its cursor.
pub type GroupPage = Page<(GroupCursor, GroupView)>;

/// A page of a group's messages, each with its cursor.
pub type MessagePage = Page<(MessageCursor, Message)>;

/// The running reads of one kind, by keys that identify the reads.
type RunningReads<K, T> = Running<K, Result<Arc<T>, ReadError>>;

/// The reads of one request.
pub struct RequestReads {
    messaging: Messaging,
    group_pages: RunningReads<(UserUuid, PageRequest), GroupPage>,
    groups: RunningReads<(UserUuid, MessageGroupUuid), Option<GroupView>>,
    members: RunningReads<(UserUuid, MessageGroupUuid), Member>,
    message_pages: RunningReads<(ReadAccess, PageRequest, Window), MessagePage>,
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
        shared(&self.group_pages, (user.uuid, page.clone()), read).await
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
        shared(&self.groups, (user.uuid, uuid), read).await
    }

    /// See [`Messaging::member`].
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, ReadError> {
        let read = || async { Ok(self.messaging.member(user, group).await?) }.boxed();
        shared(&self.members, (user.uuid, group), read).await
    }

    /// See [`Messaging::messages`].
    pub async fn messages(
        &self,
        access: ReadAccess,
        page: PageRequest,
        window: Window,
    ) -> Result<MessagePage, ReadError> {
        let read = || async { Ok(self.messaging.messages(access, page.clone(), window).await?) }.boxed();
        shared(&self.message_pages, (access, page.clone(), window), read).await
    }
}

/// Runs `read`, or waits for the running read with the same `key`.
async fn shared<'a, K: Clone + Eq + Hash, T: Clone>(
    running: &RunningReads<K, T>,
    key: K,
    read: impl FnOnce() -> BoxFuture<'a, Result<T, ReadError>>,
) -> Result<T, ReadError> {
    // The result is cloned only if several fields share the read.
    running.share(key, || read().map_ok(Arc::new)).await.map(Arc::unwrap_or_clone)
}
