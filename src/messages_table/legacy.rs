//! Groups of the legacy system, which wrote neither pair nor membership items. Such a group is adopted before the first write or
//! move in it: its membership and pair items are written.
//!
//! Every write is conditional and depends only on what is stored, so any number of servers and consumers may adopt a group at
//! the same time.

use super::{GroupRow, Membership, MessagesTable, SortKey, TableError};
use crate::model::{MessageGroupUuid, Participant};

impl MessagesTable {
    /// Adopts a legacy group. The membership is written last: a group with a membership always has a pair.
    pub async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        let participants = &membership.participants;
        if self.group_of_pair(participants).await?.is_none() {
            let newest = self.newest_legacy_group(participants).await?.unwrap_or(membership.group);
            self.put_pair(participants, newest).await?;
        }
        self.put_membership(membership).await.map(drop)
    }

    /// Of the legacy groups that two users share, the one with the newest message.
    pub async fn newest_legacy_group(
        &self,
        participants: &[Participant; 2],
    ) -> Result<Option<MessageGroupUuid>, TableError> {
        let mut newest: Option<(SortKey, MessageGroupUuid)> = None;
        for row in self.legacy_groups(participants).await? {
            // The newest message counts: the sort key of a legacy row need not be that of a message.
            let sort_key = match self.newest_message(row.group).await? {
                Some(message) => message.sort_key,
                None => row.sort_key,
            };
            if newest.as_ref().is_none_or(|(before, _)| sort_key > *before) {
                newest = Some((sort_key, row.group));
            }
        }
        Ok(newest.map(|(_, group)| group))
    }

    /// The groups that two users share according to the rows in their lists. The legacy system did not write atomically: a
    /// group can be in the list of only one of them, and a pair can have two groups.
    async fn legacy_groups(&self, participants: &[Participant; 2]) -> Result<Vec<GroupRow>, TableError> {
        let [one, other] = participants;
        let (mut rows, others) =
            futures::try_join!(self.own_rows_with(one.uuid, other.uuid), self.own_rows_with(other.uuid, one.uuid))?;
        rows.extend(others);
        rows.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| b.sort_key.cmp(&a.sort_key)));
        rows.dedup_by_key(|row| row.group);
        Ok(rows)
    }
}
