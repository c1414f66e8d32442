//! Legacy groups: who may read and write a group that was not adopted yet, and the adoption of such a group before the first
//! message is sent to it.
//!
//! `messages_table/legacy.rs` describes what the legacy system stored. After `ddb adopt-legacy`, requests no longer read
//! legacy rows: they find all groups by their pair and membership items.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::MessagingError;
use super::membership::Member;
use super::retry::Retry;
use super::service::Messaging;
use crate::messages_table::Membership;
use crate::model::{MessageGroupUuid, Participant, User, UserUuid};

/// Lifetime of a cached result that a group does not exist.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(5);

/// Returns the uuids of two users in ascending order: the key of the cache `Messaging::pairs`.
pub(super) fn pair_of(one: &User, other: &User) -> [UserUuid; 2] {
    [one.uuid.min(other.uuid), one.uuid.max(other.uuid)]
}

impl Messaging {
    /// Returns the membership of a group for which no membership item was found. The user's own legacy row proves it. Also
    /// returns whether a second read has found the item. `None` if the user is not a participant. Concurrent checks share their
    /// reads.
    pub(super) async fn legacy_membership(
        &self,
        user: &Arc<User>,
        group: MessageGroupUuid,
    ) -> Result<Option<(Arc<Membership>, bool)>, MessagingError> {
        let key = (user.uuid, group);
        let now = self.environment.monotonic();
        let is_old = |at: Instant| now.saturating_duration_since(at) >= UNKNOWN_LIFETIME;
        self.legacy_memberships.remove_if(&key, |(at, answer)| answer.is_none() && is_old(*at));
        let look = async { Ok::<_, MessagingError>((now, self.look_for_legacy_row(user, group).await?)) };
        Ok(self.legacy_memberships.get_or_insert_async(&key, look).await?.1)
    }

    async fn look_for_legacy_row(
        &self,
        user: &Arc<User>,
        group: MessageGroupUuid,
    ) -> Result<Option<(Arc<Membership>, bool)>, MessagingError> {
        if let Some(row) = self.table.legacy_row(user.uuid, group).await? {
            let participants = [Participant::from(&**user), row.other];
            let membership = Membership { group, participants, is_legacy: true, version: 1 };
            return Ok(Some((Arc::new(membership), false)));
        }
        // The index can miss a row that is being moved. The membership item is written before the row moves, so a second read
        // finds the item.
        let membership = self.table.membership(group).await?;
        Ok(membership.map(|membership| (self.remember(membership), true)))
    }

    /// Writes the pair and membership items of the member's group if they are missing.
    pub(super) async fn ensure_adopted(&self, member: &Member) -> Result<(), MessagingError> {
        if !member.is_stored {
            let adopt = || self.table.adopt_legacy_group(&member.membership);
            // Boxed, because the future is large and is needed at most once for each group.
            Box::pin(Retry::run_before_message(&*self.environment, adopt)).await?;
            self.remember((*member.membership).clone());
        }
        Ok(())
    }

    /// Returns the membership of the group that two users share, from the cache, from the pair item, or from legacy rows. If the
    /// group is found by its legacy rows, it is adopted.
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
                let newest = Box::pin(self.table.newest_legacy_group_of_pair(&participants)).await?;
                let Some(newest) = newest else { return Ok(None) };
                let put_pair = || self.table.put_pair(&participants, newest);
                if Retry::run_before_message(&*self.environment, put_pair).await? {
                    newest
                } else {
                    // Another process has written the pair item first, so the group in that item is used.
                    self.table.group_of_pair(&participants).await?.unwrap_or(newest)
                }
            }
        };
        let membership = self.membership_of_pair(group, participants).await?;
        self.pairs.insert(pair, group);
        Ok(Some(membership))
    }

    /// Returns the membership of the group that a pair shares. If the membership item is missing, because the adoption of a
    /// legacy group was interrupted after the pair item was written, writes it.
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
        Retry::run_before_message(&*self.environment, || self.table.put_membership(&membership)).await?;
        // Another process may have written the item first, so the stored item is used.
        let stored = self.table.membership(group).await?;
        Ok(self.remember(stored.unwrap_or(membership)))
    }
}
