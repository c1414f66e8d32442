//! Checks who may read and write a group.

use std::sync::Arc;

use super::{Messaging, MessagingError};
use crate::messages_table::Membership;
use crate::model::{MessageGroupUuid, Participant, User};

/// A proof that a user is a participant of a group. Every read and write of a group needs one.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) user: Arc<User>,
    pub(super) membership: Arc<Membership>,
    /// Whether the group has a membership item. A legacy group may have only rows.
    pub(super) is_adopted: bool,
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
    /// Checks that `user` is a participant of `group`. If not, the group does not exist for the user. The check is strongly
    /// consistent; a positive result never changes and is cached.
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, MessagingError> {
        if let Some(membership) = self.memberships.get(&group) {
            return Self::member_of(user, membership, true);
        }
        if let Some(membership) = self.table.membership(group).await? {
            return Self::member_of(user, self.remember(membership), true);
        }
        // A legacy group that nobody has written to since: the user's own rows say whether they are a participant.
        if let Some(membership) = self.own_rows.get(&(user.uuid, group)) {
            return Self::member_of(user, membership, false);
        }
        let rows = self.table.own_rows_of_group(user.uuid, group).await?;
        let Some(newest) = rows.into_iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key)) else {
            // A Query can run between the delete and the put of a move. The membership was written before the move.
            let membership = self.table.membership(group).await?.ok_or(MessagingError::NoSuchGroup)?;
            return Self::member_of(user, self.remember(membership), true);
        };
        let membership =
            Membership { group, participants: [Participant::from(&**user), newest.other], is_legacy: true, version: 1 };
        let membership = Arc::new(membership);
        self.own_rows.insert((user.uuid, group), membership.clone());
        Self::member_of(user, membership, false)
    }

    fn member_of(user: &Arc<User>, membership: Arc<Membership>, is_adopted: bool) -> Result<Member, MessagingError> {
        if !membership.has(user.uuid) {
            return Err(MessagingError::NoSuchGroup);
        }
        Ok(Member { user: user.clone(), membership, is_adopted })
    }

    /// Caches a membership that is stored in the table.
    pub(super) fn remember(&self, membership: Membership) -> Arc<Membership> {
        let membership = Arc::new(membership);
        self.memberships.insert(membership.group, membership.clone());
        membership
    }
}
