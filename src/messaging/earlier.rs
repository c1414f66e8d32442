//! Groups of the earlier system, which wrote neither pair nor membership items: they are written down here before the
//! first write or move in such a group.
//!
//! Everything is conditional and computed from what is stored, so any number of servers and consumers may do it at once.

use std::sync::Arc;

use super::attempts::Attempts;
use super::{Member, Messaging, MessagingError};
use crate::messages_table::{GroupRow, Membership, MessagesTable, SortKey, TableError};
use crate::model::{MessageGroupUuid, Participant, User, UserUuid};

/// All groups that the two users share by the rows in their lists. The earlier system did not write atomically: a group
/// may stand in the list of only one of them, and there may be two.
async fn groups_of_pair(table: &MessagesTable, participants: &[Participant; 2]) -> Result<Vec<GroupRow>, TableError> {
    let [one, other] = participants;
    let (mut rows, others) =
        futures::try_join!(table.own_rows_with(one.uuid, other.uuid), table.own_rows_with(other.uuid, one.uuid))?;
    rows.extend(others);
    rows.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| b.sort_key.cmp(&a.sort_key)));
    rows.dedup_by_key(|row| row.group);
    Ok(rows)
}

/// Of the groups that two users share, the one with the newest message; `None` when they share none.
async fn newest_group_of_pair(
    table: &MessagesTable,
    participants: &[Participant; 2],
) -> Result<Option<MessageGroupUuid>, TableError> {
    let mut newest: Option<(SortKey, MessageGroupUuid)> = None;
    for row in groups_of_pair(table, participants).await? {
        // The newest message counts; a row's own time need not be that of any message.
        let sort_key = match table.newest_message(row.group).await? {
            Some(message) => message.sort_key,
            None => row.sort_key,
        };
        if newest.as_ref().is_none_or(|(before, _)| sort_key > *before) {
            newest = Some((sort_key, row.group));
        }
    }
    Ok(newest.map(|(_, group)| group))
}

/// Writes down the pair and the membership of a group of the earlier system. The membership comes last: where it is, the
/// pair is.
pub async fn write_down(table: &MessagesTable, membership: &Membership) -> Result<(), TableError> {
    let participants = &membership.participants;
    if table.group_of_pair(participants).await?.is_none() {
        let newest = newest_group_of_pair(table, participants).await?.unwrap_or(membership.group);
        table.put_pair(participants, newest).await?;
    }
    table.put_membership(membership).await.map(drop)
}

/// Both uuids, the same from both sides.
pub(super) fn pair_of(one: &User, other: &User) -> [UserUuid; 2] {
    [one.uuid.min(other.uuid), one.uuid.max(other.uuid)]
}

impl Messaging {
    /// Sees to it that the membership and pair items of the member's group are there.
    pub(super) async fn ensure_written_down(&self, member: &Member) -> Result<(), MessagingError> {
        if !member.written_down {
            // On the heap, since it is large and happens once in a group's life.
            Box::pin(Attempts::beforehand(|| write_down(&self.table, &member.membership))).await?;
            self.remember((*member.membership).clone());
        }
        Ok(())
    }

    /// The group that two users share, by its membership: remembered, from the pair item, or from rows of the earlier
    /// system, which are then written down.
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
                let newest = Box::pin(newest_group_of_pair(&self.table, &participants)).await?;
                let Some(newest) = newest else { return Ok(None) };
                if Attempts::beforehand(|| self.table.put_pair(&participants, newest)).await? {
                    newest
                } else {
                    // The other side was faster, and what it found counts.
                    self.table.group_of_pair(&participants).await?.unwrap_or(newest)
                }
            }
        };
        let membership = self.membership_of_pair(group, participants).await?;
        self.pairs.insert(pair, group);
        Ok(Some(membership))
    }

    /// The membership of the group that a pair shares. Of a group of the earlier system the pair item may be there and the
    /// membership not yet: then it is written down.
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
        let membership = Membership { group, participants, from_earlier_system: true, version: 1 };
        Attempts::beforehand(|| self.table.put_membership(&membership)).await?;
        // Whoever put it, what stands there now counts.
        let stored = self.table.membership(group).await?;
        Ok(self.remember(stored.unwrap_or(membership)))
    }
}
