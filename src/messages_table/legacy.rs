//! Groups of the legacy system. It wrote messages and message group rows, but neither pair nor membership items.
//!
//! A group is adopted before the first write or move in it: its pair and membership items are written. Both writes are
//! conditional and computed from stored items only, so any number of servers and consumers may adopt a group at once.

use super::error::TableError;
use super::keys::SortKey;
use super::records::{GroupRow, Membership};
use super::table::MessagesTable;
use crate::model::{MessageGroupUuid, Participant};

impl MessagesTable {
    /// Writes the pair and membership items of a legacy group unless they exist. Reads both users' partitions when the pair
    /// item is missing.
    ///
    /// The membership item is written last: where it exists, the pair item exists too.
    pub async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        let participants = &membership.participants;
        if self.group_of_pair(participants).await?.is_none() {
            let newest = self.newest_legacy_group_of_pair(participants).await?.unwrap_or(membership.group);
            self.put_pair(participants, newest).await?;
        }
        self.put_membership(membership).await.map(drop)
    }

    /// Finds the groups that two users share by their rows, and returns the one with the newest message. Returns `None` when
    /// the users share no group. Reads both users' partitions.
    pub async fn newest_legacy_group_of_pair(
        &self,
        participants: &[Participant; 2],
    ) -> Result<Option<MessageGroupUuid>, TableError> {
        let mut newest: Option<(SortKey, MessageGroupUuid)> = None;
        for row in self.newest_rows_of_pair(participants).await? {
            // The sort key of a legacy row need not be the one of any message, so the messages decide.
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

    /// The newest row of each group that the two users share. The legacy system did not write atomically: a group may be in
    /// the list of only one participant, and a pair may have two groups.
    async fn newest_rows_of_pair(&self, participants: &[Participant; 2]) -> Result<Vec<GroupRow>, TableError> {
        let [one, other] = participants;
        let (mut rows, others) =
            futures::try_join!(self.own_rows_with(one.uuid, other.uuid), self.own_rows_with(other.uuid, one.uuid))?;
        rows.extend(others);
        rows.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| b.sort_key.cmp(&a.sort_key)));
        rows.dedup_by_key(|row| row.group);
        Ok(rows)
    }
}
