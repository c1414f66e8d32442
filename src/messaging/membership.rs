//! Membership checks: who may read and write a group.
//!
//! Reads and writes of a group take a [`Member`], which only the check in this file creates.

use std::sync::Arc;

use super::error::MessagingError;
use super::service::Messaging;
use crate::messages_table::Membership;
use crate::model::{MessageGroupUuid, Participant, User};

/// A proof that a user is a participant of a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) user: Arc<User>,
    pub(super) membership: Arc<Membership>,
    /// Whether the membership item is stored. `false` for a legacy group that was not adopted yet.
    pub(super) is_stored: bool,
}

impl Member {
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
    /// [`MessagingError::NoSuchGroup`] when the group does not exist or the user is not a participant.
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, MessagingError> {
        if let Some(membership) = self.memberships.get(&group) {
            return Self::member_of(user, membership, true);
        }
        if let Some(membership) = self.table.membership(group).await? {
            return Self::member_of(user, self.remember(membership), true);
        }
        // The group may be a legacy group that was not adopted. Then the user's own rows prove the membership.
        if let Some(membership) = self.legacy_memberships.get(&(user.uuid, group)) {
            return Self::member_of(user, membership, false);
        }
        let rows = self.table.own_rows_of_group(user.uuid, group).await?;
        let Some(newest) = rows.into_iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key)) else {
            // The Query can miss a row that moves meanwhile. The membership item is written before a row moves, so a second
            // read finds it.
            let membership = self.table.membership(group).await?.ok_or(MessagingError::NoSuchGroup)?;
            return Self::member_of(user, self.remember(membership), true);
        };
        let membership =
            Membership { group, participants: [Participant::from(&**user), newest.other], is_legacy: true, version: 1 };
        let membership = Arc::new(membership);
        self.legacy_memberships.insert((user.uuid, group), membership.clone());
        Self::member_of(user, membership, false)
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
