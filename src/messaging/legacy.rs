//! Which group two users share, and the adoption of legacy groups.

use std::sync::Arc;

use super::retry::Retry;
use super::{Member, Messaging, MessagingError};
use crate::messages_table::Membership;
use crate::model::{MessageGroupUuid, Participant, User, UserUuid};

/// The uuids of both users, the same from both sides.
pub(super) fn pair_of(one: &User, other: &User) -> [UserUuid; 2] {
    [one.uuid.min(other.uuid), one.uuid.max(other.uuid)]
}

impl Messaging {
    /// Adopts the group of the member, if it is a legacy group that has no membership item.
    pub(super) async fn ensure_adopted(&self, member: &Member) -> Result<(), MessagingError> {
        if !member.is_adopted {
            // Boxed, because the future is large and this happens once for each group.
            Box::pin(Retry::before_message(&*self.environment, || self.table.adopt_legacy_group(&member.membership)))
                .await?;
            self.remember((*member.membership).clone());
        }
        Ok(())
    }

    /// The membership of the group that two users share: from the cache, from the pair item, or from legacy rows, whose group is
    /// then adopted.
    pub(super) async fn group_of_pair(
        &self,
        author: &User,
        recipient: &User,
    ) -> Result<Option<Arc<Membership>>, MessagingError> {
        let pair = pair_of(author, recipient);
        if let Some(membership) = self.pairs.get(&pair).and_then(|group| self.memberships.get(&group)) {
            return Ok(Some(membership));
        }
        let participants = [author.into(), recipient.into()];
        let group = match self.table.group_of_pair(&participants).await? {
            Some(group) => group,
            None => {
                let newest = Box::pin(self.table.newest_legacy_group(&participants)).await?;
                let Some(newest) = newest else { return Ok(None) };
                if Retry::before_message(&*self.environment, || self.table.put_pair(&participants, newest)).await? {
                    newest
                } else {
                    // The other participant was faster, and their pair item counts.
                    self.table.group_of_pair(&participants).await?.unwrap_or(newest)
                }
            }
        };
        let membership = self.membership_of_pair(group, participants).await?;
        self.pairs.insert(pair, group);
        Ok(Some(membership))
    }

    /// The membership of the group that a pair shares. A legacy group can have a pair item and no membership item yet; then the
    /// membership is written.
    pub(super) async fn membership_of_pair(
        &self,
        group: MessageGroupUuid,
        participants: [Participant; 2],
    ) -> Result<Arc<Membership>, MessagingError> {
        if let Some(membership) = self.memberships.get(&group) {
            return Ok(membership);
        }
        if let Some(membership) = self.table.membership(group).await? {
            return Ok(self.remember(membership));
        }
        let membership = Membership { group, participants, is_legacy: true, version: 1 };
        Retry::before_message(&*self.environment, || self.table.put_membership(&membership)).await?;
        // Another server can have been faster. What is stored counts.
        let stored = self.table.membership(group).await?;
        Ok(self.remember(stored.unwrap_or(membership)))
    }
}
