//! Groups of the legacy system. It wrote messages and message group rows, but neither pair nor membership items.
//!
//! A group is adopted before the first write or move in it: its pair and membership items are written. Both writes are
//! conditional and depend only on stored items, so servers, consumers and commands may adopt a group concurrently.
//!
//! To find the legacy groups that two users share, the lists of both must be read, because a group can be in only one of the
//! lists. A list can be long, so it is read up to a maximum, and cached. When every group is adopted, `ddb adopt-legacy`
//! writes a marker. After that, no group is searched by its legacy rows any more.

use std::sync::Arc;

use super::attributes::primary_key;
use super::error::TableError;
use super::items;
use super::keys;
use super::legacy_cache::LegacyGroups;
use super::query::Pages;
use super::range::{Direction, SortKeyRange};
use super::records::{GroupRow, Membership, participants_of};
use super::table::MessagesTable;
use crate::model::{MessageGroupUuid, NameCopy, Participant, UserUuid};

impl MessagesTable {
    /// Whether the marker exists, which says that every legacy group is adopted. If it is missing, the result is cached for a
    /// minute.
    pub async fn legacy_is_adopted(&self) -> Result<bool, TableError> {
        let (pk, sk) = keys::MARKER;
        let read = async { Ok(self.get(primary_key(pk.to_owned(), sk)).await?.is_some()) };
        self.legacy.is_adopted(read).await
    }

    /// Writes the pair and membership items of a legacy group unless they exist. Reads the lists of both users if the pair item
    /// is missing.
    ///
    /// The membership item is written last, so if it exists, the pair item exists too.
    pub async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        let participants = &membership.participants;
        if self.group_of_pair(participants).await?.is_none() {
            // Boxed, because the future is large and rarely needed.
            let newest = Box::pin(self.newest_legacy_group_of_pair(participants)).await?.unwrap_or(membership.group);
            self.put_pair(participants, newest).await?;
        }
        self.put_membership(membership).await.map(drop)
    }

    /// Finds the legacy groups that two users share by their rows, and returns the one with the newest message. Returns `None` if
    /// the users share no group, or if the marker exists: every shared group then has a pair item.
    pub async fn newest_legacy_group_of_pair(
        &self,
        participants: &[Participant; 2],
    ) -> Result<Option<MessageGroupUuid>, TableError> {
        if self.legacy_is_adopted().await? {
            return Ok(None);
        }
        let [one, other] = participants;
        let (ours, theirs) = futures::try_join!(self.legacy_groups(one.uuid), self.legacy_groups(other.uuid))?;
        // The writes of the legacy system were not atomic: a group can be in the list of only one participant, and a pair can
        // share two groups.
        let mut shared: Vec<MessageGroupUuid> = Vec::new();
        for (groups, user) in [(&ours, other.uuid), (&theirs, one.uuid)] {
            let from = groups.partition_point(|(with, _)| *with < user);
            shared.extend(groups[from..].iter().take_while(|(with, _)| *with == user).map(|(_, group)| group));
        }
        shared.sort_unstable();
        shared.dedup();
        self.newest_of_groups(&shared).await
    }

    /// Returns the group with the newest message. For a group without messages, the sort key of its newest row is compared.
    pub async fn newest_of_groups(&self, groups: &[MessageGroupUuid]) -> Result<Option<MessageGroupUuid>, TableError> {
        if let [] | [_] = groups {
            return Ok(groups.first().copied());
        }
        let mut newest = None;
        for group in groups {
            // The messages are compared, because the sort key of a legacy row can differ from those of all messages.
            let sort_key = match self.newest_message(*group).await? {
                Some(message) => Some(message.sort_key),
                None => self.indexed_rows(*group).await?.into_iter().map(|row| row.sort_key).max(),
            };
            if newest.as_ref().is_none_or(|(before, _)| sort_key > *before) {
                newest = Some((sort_key, *group));
            }
        }
        Ok(newest.map(|(_, group)| group))
    }

    /// Returns `user`'s newest row of a legacy group. The index contains its key, because a legacy row is old, and a strongly
    /// consistent read confirms the row. `None` if there is no row, or if it has moved. If it has moved, the membership item
    /// exists.
    pub async fn legacy_row(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Option<GroupRow>, TableError> {
        let rows = self.indexed_rows(group).await?.into_iter().filter(|row| row.owner == user);
        match rows.max_by(|a, b| a.sort_key.cmp(&b.sort_key)) {
            Some(newest) => self.row_at(user, group, &newest.sort_key).await,
            None => Ok(None),
        }
    }

    /// Returns the membership of a legacy group, with the participants that its rows name. `None` if it has no rows.
    pub async fn membership_of_rows(
        &self,
        group: MessageGroupUuid,
        rows: &[GroupRow],
    ) -> Result<Option<Membership>, TableError> {
        let Some(mut participants) = participants_of(rows) else { return Ok(None) };
        for participant in participants.iter_mut().filter(|it| *it.names == NameCopy::default()) {
            // No row has the names of this participant, but a message that they wrote has.
            if let Some(message) = self.recent_message_by(group, participant.uuid).await? {
                participant.names = message.author.names;
            }
        }
        Ok(Some(Membership { group, participants, is_legacy: true, version: 1 }))
    }

    /// Returns the legacy groups in `user`'s list. Fails if this takes more than the maximum number of read units.
    async fn legacy_groups(&self, user: UserUuid) -> Result<Arc<LegacyGroups>, TableError> {
        let read = async {
            // The oldest rows are read first, because a row that moves during the read gets a newer sort key.
            let all = SortKeyRange::all();
            let pages = Pages::of_partition(self, keys::groups_pk(user), &all, Direction::Ascending, None);
            let mut pages = pages.legacy_rows();
            let mut groups = LegacyGroups::new();
            while let Some(page) = pages.next(items::to_other_and_group).await? {
                groups.extend(page);
                if !pages.is_done() && self.legacy.is_used_up(pages.units()) {
                    return Ok(None);
                }
            }
            groups.sort_unstable();
            Ok(Some(groups))
        };
        self.legacy.groups(user, read).await
    }
}
