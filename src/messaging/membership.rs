//! Membership checks: who may read and write a group.
//!
//! Functions that write to a group require a [`Member`], and functions that read its messages require a [`ReadAccess`]. Only the
//! files of this folder can create these values, after a check.

use std::sync::Arc;

use super::error::MessagingError;
use super::service::Messaging;
use crate::messages_table::feed::FedMessages;
use crate::messages_table::{GroupRow, Membership};
use crate::model::{MessageGroupUuid, Participant, User};

/// A proof that a user is a participant of a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) user: Arc<User>,
    pub(super) membership: Arc<Membership>,
    /// Whether the membership item is stored. `false` for a legacy group that was not adopted yet.
    pub(super) is_stored: bool,
}

/// A proof that a user may read the messages of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadAccess {
    pub(super) group: MessageGroupUuid,
    /// Whether the group may have keys of the legacy system.
    pub(super) may_be_legacy: bool,
}

impl ReadAccess {
    /// The access that a row proves: its owner is a participant. The row does not say whether the group is a legacy group.
    pub(super) fn of_own_row(row: &GroupRow) -> Self {
        Self { group: row.group, may_be_legacy: true }
    }

    /// The access that an entry of a feed proves: the owner of the feed is a participant.
    pub(super) fn of_own_entry(fed: &FedMessages) -> Self {
        Self { group: fed.group, may_be_legacy: true }
    }
}

impl Member {
    /// The access to the messages of the group.
    pub fn access(&self) -> ReadAccess {
        ReadAccess { group: self.membership.group, may_be_legacy: self.membership.is_legacy }
    }

    /// The group.
    pub fn group(&self) -> MessageGroupUuid {
        self.membership.group
    }

    /// The other participant.
    pub fn other(&self) -> &Participant {
        self.membership.other_than(self.user.uuid)
    }
}

impl Messaging {
    /// Checks that `user` is a participant of `group`. The check is strongly consistent. A positive result is cached, because
    /// participants never change.
    ///
    /// # Errors
    /// [`MessagingError::NoSuchGroup`] if the group does not exist or the user is not a participant.
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, MessagingError> {
        if let Some(membership) = self.memberships.get(&group) {
            return Self::member_of(user, membership, true);
        }
        // The marker is read before the membership item. In the other order, the group could be adopted between the two reads,
        // and would seem not to exist.
        let legacy_is_adopted = self.table.legacy_is_adopted().await?;
        if let Some(membership) = self.table.membership(group).await? {
            return Self::member_of(user, self.remember(membership), true);
        }
        if legacy_is_adopted {
            return Err(MessagingError::NoSuchGroup);
        }
        // The group may be a legacy group that was not adopted. Boxed, because the future is large and rarely needed.
        match Box::pin(self.legacy_membership(user, group)).await? {
            Some((membership, is_stored)) => Self::member_of(user, membership, is_stored),
            None => Err(MessagingError::NoSuchGroup),
        }
    }

    fn member_of(user: &Arc<User>, membership: Arc<Membership>, is_stored: bool) -> Result<Member, MessagingError> {
        if !membership.has(user.uuid) {
            return Err(MessagingError::NoSuchGroup);
        }
        Ok(Member { user: user.clone(), membership, is_stored })
    }

    /// Caches a membership that is stored in the table.
    pub(super) fn remember(&self, membership: Membership) -> Arc<Membership> {
        let membership = Arc::new(membership);
        self.memberships.insert(membership.group, membership.clone());
        membership
    }
}
