//! Who may read and write a group.

use std::sync::Arc;

use super::{Messaging, MessagingError};
use crate::messages_table::Membership;
use crate::model::{MessageGroupUuid, Participant, User};

/// A proof that a user takes part in a group: what every read and write of the group asks for.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) user: Arc<User>,
    pub(super) membership: Arc<Membership>,
    /// Whether the membership item is there, or only rows of the earlier system.
    pub(super) written_down: bool,
}

impl Member {
    /// The group.
    pub fn group(&self) -> MessageGroupUuid {
        self.membership.group
    }

    /// The participant who is not the user.
    pub fn other(&self) -> &Participant {
        self.membership.other_than(self.user.uuid)
    }
}

impl Messaging {
    /// Checks that `user` takes part in `group`, or answers that there is no such group. Strongly consistent; a
    /// positive answer never changes and is remembered.
    pub async fn member(&self, user: &Arc<User>, group: MessageGroupUuid) -> Result<Member, MessagingError> {
        if let Some(membership) = self.memberships.get(&group) {
            return Self::member_of(user, membership, true);
        }
        if let Some(membership) = self.table.membership(group).await? {
            return Self::member_of(user, self.remember(membership), true);
        }
        // A group of the earlier system that nobody has written to since: the user's own rows say whether they are in it.
        if let Some(membership) = self.own_rows.get(&(user.uuid, group)) {
            return Self::member_of(user, membership, false);
        }
        let rows = self.table.own_rows_of_group(user.uuid, group).await?;
        let Some(newest) = rows.into_iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key)) else {
            // A Query may look between the two halves of a move; before it, the membership was written down.
            let membership = self.table.membership(group).await?.ok_or(MessagingError::NoSuchGroup)?;
            return Self::member_of(user, self.remember(membership), true);
        };
        let membership = Membership {
            group,
            participants: [Participant::from(&**user), newest.other],
            from_earlier_system: true,
            version: 1,
        };
        let membership = Arc::new(membership);
        self.own_rows.insert((user.uuid, group), membership.clone());
        Self::member_of(user, membership, false)
    }

    fn member_of(user: &Arc<User>, membership: Arc<Membership>, written_down: bool) -> Result<Member, MessagingError> {
        if !membership.has(user.uuid) {
            return Err(MessagingError::NoSuchGroup);
        }
        Ok(Member { user: user.clone(), membership, written_down })
    }

    /// Remembers a membership that is written down in the table.
    pub(super) fn remember(&self, membership: Membership) -> Arc<Membership> {
        let membership = Arc::new(membership);
        self.memberships.insert(membership.group, membership.clone());
        membership
    }
}
