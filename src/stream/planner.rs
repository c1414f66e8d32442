//! Decides, without I/O, what the consumer writes for the rows of a group and for the feeds of its participants.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::messages_table::feed::{FedMessage, FedMessages, FeedContent};
use crate::messages_table::{Fed, GroupRow, GroupUpdate, Membership, Message, Reading, SortKey};
use crate::model::{Participant, UserUuid};

/// The source from which the rows of a plan were read.
pub enum RowsSource<'a> {
    /// The index. It can lag, so a row that it lacks can be in the table.
    Index {
        /// The participants, as the rows name them.
        participants: &'a [Participant; 2],
    },
    /// The table. The rows were read after the membership.
    Table {
        /// The participants, and the version on which a put of a missing row is conditional.
        membership: &'a Membership,
    },
}

/// The input of a plan for one group.
pub struct Task<'a> {
    /// The newest known message of the group. Rows that move get its text.
    pub newest: &'a Message,
    /// The sort key that rows get when they move.
    pub to: &'a SortKey,
    /// Messages that are not fed yet, in the order of the stream.
    pub unfed: &'a [&'a Message],
    /// The positions of fed messages to store in the rows.
    pub fed: &'a Fed,
    /// Whether messages of the group can be missing in the feeds.
    pub reset: Reset,
    /// Numbers of unread messages, for the owners for whom [`MovePlan::Count`] requested them.
    pub counts: &'a BTreeMap<UserUuid, u64>,
}

/// Whether messages of a group can be missing in the feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// No message is missing.
    Never,
    /// Messages are missing if a row is older than the newest message.
    IfBehind,
    /// Messages can be missing in any case.
    Always,
}

/// The writes for a group: its rows, and the entries for the feeds of its participants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCommit {
    /// The rows.
    pub update: GroupUpdate,
    /// The feed entries, without their positions.
    pub appends: Vec<(UserUuid, FeedContent)>,
}

/// A request to count unread messages in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRequest {
    /// Owner of the row.
    pub owner: UserUuid,
    /// Author of the messages.
    pub author: UserUuid,
    /// Count messages after this sort key. With `None`, count from the first message.
    pub after: Option<SortKey>,
    /// Count messages up to this sort key.
    pub up_to: SortKey,
}

/// The next step for the rows of a group.
#[derive(Debug, PartialEq, Eq)]
pub enum MovePlan {
    /// Every row is at least as new as the message, and the feeds have every message.
    Nothing,
    /// A row is missing in the index. The table must be read.
    ReadTable,
    /// Count these messages, and plan again.
    Count(Vec<CountRequest>),
    /// Write this in one transaction.
    Commit(GroupCommit),
}

/// The rows that one participant has of the group before a commit.
struct View<'a> {
    owner: &'a Participant,
    other: &'a Participant,
    /// All rows of the group in the owner's list. Some lists of the legacy system contain two.
    rows: Vec<&'a GroupRow>,
}

impl View<'_> {
    fn newest_row(&self) -> Option<&GroupRow> {
        self.rows.last().copied()
    }

    fn is_behind(&self, task: &Task<'_>) -> bool {
        let newest = self.newest_row().map(|row| &row.sort_key);
        newest.is_none_or(|newest| newest < task.to && newest < &task.newest.sort_key)
    }

    /// Returns what the owner has received and read after the task. Also returns a request if unread messages must be counted
    /// first.
    fn reading(&self, task: &Task<'_>) -> (Option<Reading>, Option<CountRequest>) {
        let before = self.rows.iter().rev().find_map(|row| row.reading.clone());
        let oldest = task.unfed.iter().map(|message| &message.sort_key).min();
        let Some(mut reading) = before.or_else(|| {
            // Counting starts with the first message that is fed. All messages before it count as read.
            let oldest = oldest?;
            let marker = oldest.just_before().or_else(|| self.newest_row().map(|row| row.sort_key.clone()));
            Some(Reading { marker, ..Reading::default() })
        }) else {
            return (None, None);
        };
        let mut newest = self.newest_row().map(|row| row.sort_key.clone());
        let mut needs_count = task.reset == Reset::Always;
        for message in task.unfed {
            let key = &message.sort_key;
            newest = newest.max(Some(key.clone()));
            if message.author.uuid == self.owner.uuid {
                reading.write(key, newest.as_ref().unwrap_or(key));
                needs_count = false;
            } else {
                needs_count |= reading.may_have_counted(key);
                reading.receive(key);
            }
        }
        if !needs_count {
            return (Some(reading), None);
        }
        let up_to = newest.unwrap_or_else(|| task.to.clone());
        match task.counts.get(&self.owner.uuid) {
            Some(unread) => {
                reading.count(*unread, up_to);
                (Some(reading), None)
            }
            None => {
                let (owner, author, after) = (self.owner.uuid, self.other.uuid, reading.marker.clone());
                (Some(reading), Some(CountRequest { owner, author, after, up_to }))
            }
        }
    }

    /// Returns the content of the entry for the owner's feed.
    fn content(&self, task: &Task<'_>, reading: Option<&Reading>) -> FeedContent {
        let messages: Vec<FedMessage> =
            task.unfed.iter().map(|message| FedMessage::of(message, self.owner.uuid)).collect();
        let newest_fed = messages.iter().map(|message| &message.sort_key).max();
        let newer = if self.is_behind(task) {
            Some(FedMessage::of(task.newest, self.owner.uuid))
        } else {
            self.newest_row().and_then(|row| newest_of_row(row, self.owner.uuid))
        };
        FeedContent::Messages(Arc::new(FedMessages {
            group: task.newest.group,
            other: self.other.clone(),
            newer: newer.filter(|newer| newest_fed.is_none_or(|fed| *fed < newer.sort_key)),
            reading: reading.cloned().unwrap_or_default(),
            messages,
        }))
    }
}

/// Returns the newest message of a row, or `None` for a legacy row, which lacks the author or the uuid of the message.
fn newest_of_row(row: &GroupRow, owner: UserUuid) -> Option<FedMessage> {
    let (uuid, is_own) = (row.sort_key.message_uuid()?, row.author? == owner);
    Some(FedMessage { sort_key: row.sort_key.clone(), uuid, body: row.body.clone(), is_own })
}

/// Plans what to write for a group. A row never moves backward.
pub fn plan(task: &Task<'_>, source: &RowsSource<'_>, rows: &[GroupRow]) -> MovePlan {
    let participants = match source {
        RowsSource::Index { participants } => participants,
        RowsSource::Table { membership } => &membership.participants,
    };
    let [one, other] = participants;
    let mut views = vec![view(one, other, rows)];
    if one.uuid != other.uuid {
        views.push(view(other, one, rows));
    }
    let is_behind = views.iter().any(|view| view.is_behind(task));
    let is_reset = task.reset == Reset::Always || (task.reset == Reset::IfBehind && is_behind);
    if !is_behind && !is_reset && task.unfed.is_empty() {
        return MovePlan::Nothing;
    }
    let is_missing = views.iter().any(|view| view.rows.is_empty());
    let bump = match source {
        RowsSource::Index { .. } if is_missing => return MovePlan::ReadTable,
        RowsSource::Table { membership } if is_missing => Some(membership.version),
        _ => None,
    };
    let group = task.newest.group;
    let mut update = GroupUpdate { group, delete: Vec::new(), put: Vec::new(), update: Vec::new(), bump };
    let (mut appends, mut counts) = (Vec::new(), Vec::new());
    for view in &views {
        let (reading, count) = view.reading(task);
        counts.extend(count);
        if is_reset {
            appends.push((view.owner.uuid, FeedContent::Reset(group)));
        }
        if !task.unfed.is_empty() {
            appends.push((view.owner.uuid, view.content(task, reading.as_ref())));
        }
        let row = GroupRow {
            owner: view.owner.uuid,
            group,
            other: view.other.clone(),
            body: task.newest.body.clone(),
            author: Some(task.newest.author.uuid),
            sort_key: task.to.clone(),
            fed: task.fed.clone(),
            reading,
        };
        match view.newest_row() {
            Some(before) if !view.is_behind(task) => {
                let (fed, reading) = (row.fed, row.reading);
                if before.fed != fed || before.reading != reading {
                    update.update.push((before.clone(), GroupRow { fed, reading, ..before.clone() }));
                }
            }
            _ => {
                update.delete.extend(view.rows.iter().map(|row| (*row).clone()));
                update.put.push(row);
            }
        }
    }
    if counts.is_empty() { MovePlan::Commit(GroupCommit { update, appends }) } else { MovePlan::Count(counts) }
}

fn view<'a>(owner: &'a Participant, counterpart: &'a Participant, rows: &'a [GroupRow]) -> View<'a> {
    let mut rows: Vec<&GroupRow> = rows.iter().filter(|row| row.owner == owner.uuid).collect();
    // The index may return a row twice, and a transaction may contain it only once.
    rows.sort_by(|a, b| a.sort_key.cmp(&b.sort_key));
    rows.dedup_by(|a, b| a.sort_key == b.sort_key);
    let other = rows.first().map_or(counterpart, |row| &row.other);
    View { owner, other, rows }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{MessageGroupUuid, MessageUuid, NameCopy};

    fn user(number: u128) -> Participant {
        let names = NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") };
        Participant { uuid: UserUuid(Uuid::from_u128(number)), names: names.into() }
    }

    fn key(second: u32) -> SortKey {
        let text = format!("2026-11-22T10:42:{second:02}.000000Z");
        SortKey::of_message(text.parse().expect("a time"), MessageUuid(Uuid::from_u128(second.into())))
    }

    fn message(group: u128, second: u32) -> Message {
        Message {
            uuid: MessageUuid(Uuid::from_u128(second.into())),
            group: MessageGroupUuid(Uuid::from_u128(group)),
            author: user(1),
            body: format!("at {second}"),
            created_at: key(second).created_at().expect("a time"),
            sort_key: key(second),
        }
    }

    fn row(owner: u128, other: u128, second: u32) -> GroupRow {
        let Message { group, body, sort_key, .. } = message(8, second);
        let (owner, other, author) = (user(owner).uuid, user(other), Some(user(1).uuid));
        GroupRow { owner, group, other, body, author, sort_key, fed: Fed::default(), reading: Some(Reading::default()) }
    }

    fn fed(number: u32) -> Fed {
        Fed::read(&format!("shard={number}")).expect("a position")
    }

    fn membership() -> Membership {
        Membership { group: message(8, 0).group, participants: [user(1), user(2)], is_legacy: false, version: 5 }
    }

    /// Plans for messages at these seconds that are not fed.
    fn planned(seconds: &[u32], source: &RowsSource<'_>, rows: &[GroupRow]) -> MovePlan {
        let messages: Vec<Message> = seconds.iter().map(|second| message(8, *second)).collect();
        let unfed: Vec<&Message> = messages.iter().collect();
        let newest = messages.iter().max_by_key(|message| message.sort_key.clone()).expect("a message");
        let (counts, fed) = (BTreeMap::new(), fed(7));
        let to = &newest.sort_key;
        plan(&Task { newest, to, unfed: &unfed, fed: &fed, reset: Reset::Never, counts: &counts }, source, rows)
    }

    fn plan_from_index(seconds: &[u32], rows: &[GroupRow]) -> MovePlan {
        let participants = [user(1), user(2)];
        planned(seconds, &RowsSource::Index { participants: &participants }, rows)
    }

    fn commit(plan: MovePlan) -> GroupCommit {
        let MovePlan::Commit(commit) = plan else { panic!("no commit: {plan:?}") };
        commit
    }

    /// The owners and seconds of rows.
    fn places(rows: &[GroupRow]) -> Vec<(UserUuid, SortKey)> {
        rows.iter().map(|row| (row.owner, row.sort_key.clone())).collect()
    }

    fn fed_seconds(append: &(UserUuid, FeedContent)) -> Vec<SortKey> {
        let FeedContent::Messages(fed) = &append.1 else { panic!("a reset") };
        fed.messages.iter().map(|message| message.sort_key.clone()).collect()
    }

    #[test]
    fn both_rows_move_and_every_message_is_fed() {
        let rows = [row(1, 2, 1), row(2, 1, 1)];
        let moved = commit(plan_from_index(&[2, 3], &rows));
        assert_eq!(places(&moved.update.put), [(user(1).uuid, key(3)), (user(2).uuid, key(3))]);
        assert_eq!(moved.update.delete, rows);
        assert_eq!((moved.update.update, moved.update.bump), (vec![], None));
        assert!(moved.update.put.iter().all(|row| row.fed == fed(7)));
        assert_eq!(moved.appends.iter().map(|(owner, _)| *owner).collect::<Vec<_>>(), [user(1).uuid, user(2).uuid]);
        assert_eq!(fed_seconds(&moved.appends[0]), [key(2), key(3)]);
    }

    #[test]
    fn the_author_has_read_everything_and_the_other_one_receives() {
        let moved = commit(plan_from_index(&[2, 3], &[row(1, 2, 1), row(2, 1, 1)]));
        let readings: Vec<Reading> = moved.update.put.into_iter().filter_map(|row| row.reading).collect();
        assert_eq!(readings[0], Reading { marker: Some(key(3)), ..Reading::default() });
        assert_eq!(readings[1], Reading { received: 2, ..Reading::default() });
    }

    #[test]
    fn a_late_message_is_fed_and_moves_no_row() {
        let rows = [row(1, 2, 3), row(2, 1, 3)];
        let fed_late = commit(plan_from_index(&[2], &rows));
        let GroupUpdate { delete, put, update, .. } = fed_late.update;
        assert_eq!((delete, put), (vec![], vec![]));
        assert_eq!(update.iter().map(|(before, _)| before.clone()).collect::<Vec<_>>(), rows);
        assert_eq!(update[1].1.reading, Some(Reading { received: 1, ..Reading::default() }));
        let FeedContent::Messages(entry) = &fed_late.appends[1].1 else { panic!("a reset") };
        assert_eq!(entry.newer.as_ref().map(|newer| &newer.sort_key), Some(&key(3)));
        let one = commit(plan_from_index(&[2], &[row(1, 2, 3), row(2, 1, 1)]));
        assert_eq!(places(&one.update.put), [(user(2).uuid, key(2))]);
        assert_eq!(one.update.update.len(), 1);
    }

    #[test]
    fn two_rows_of_one_list_become_one() {
        let moved = commit(plan_from_index(&[3], &[row(1, 2, 1), row(1, 2, 2), row(2, 1, 1)]));
        assert_eq!((moved.update.put.len(), moved.update.delete.len()), (2, 3));
    }

    #[test]
    fn a_row_that_the_index_shows_twice_is_deleted_once() {
        let moved = commit(plan_from_index(&[3], &[row(1, 2, 1), row(1, 2, 1), row(2, 1, 1)]));
        assert_eq!(places(&moved.update.delete), [(user(1).uuid, key(1)), (user(2).uuid, key(1))]);
    }

    #[test]
    fn a_missing_row_is_put_only_on_the_tables_word_and_under_the_version() {
        assert_eq!(plan_from_index(&[2], &[row(1, 2, 1)]), MovePlan::ReadTable);
        let membership = membership();
        let view = RowsSource::Table { membership: &membership };
        let moved = commit(planned(&[2], &view, &[row(1, 2, 1)]));
        assert_eq!(places(&moved.update.put), [(user(1).uuid, key(2)), (user(2).uuid, key(2))]);
        assert_eq!(moved.update.bump, Some(5));
        assert_eq!(commit(planned(&[2], &view, &[row(1, 2, 1), row(2, 1, 1)])).update.bump, None);
    }

    #[test]
    fn rows_without_counts_start_at_the_first_fed_message() {
        let old = |owner, other| GroupRow { reading: None, ..row(owner, other, 1) };
        let moved = commit(plan_from_index(&[2], &[old(1, 2), old(2, 1)]));
        let reading = moved.update.put[1].reading.clone().expect("a reading");
        assert_eq!((reading.unread(), reading.marker), (1, key(2).just_before()));
    }

    #[test]
    fn a_message_that_may_be_counted_already_is_counted_again() {
        let reading = Reading { received: 3, read: 2, marker: Some(key(1)), counted_to: Some(key(4)) };
        let rows = [row(1, 2, 4), GroupRow { reading: Some(reading), ..row(2, 1, 4) }];
        let MovePlan::Count(requests) = plan_from_index(&[3], &rows) else { panic!("no count") };
        let wanted = CountRequest { owner: user(2).uuid, author: user(1).uuid, after: Some(key(1)), up_to: key(4) };
        assert_eq!(requests, [wanted]);
    }

    #[test]
    fn a_check_resets_the_feeds_only_if_messages_can_be_missing() {
        let newest = message(8, 3);
        let (counts, nothing_fed) = (BTreeMap::from([(user(1).uuid, 0), (user(2).uuid, 4)]), Fed::default());
        let check = |reset, rows: &[GroupRow]| {
            let task =
                Task { newest: &newest, to: &newest.sort_key, unfed: &[], fed: &nothing_fed, reset, counts: &counts };
            plan(&task, &RowsSource::Index { participants: &[user(1), user(2)] }, rows)
        };
        let resets = |plan| commit(plan).appends.iter().filter(|it| matches!(it.1, FeedContent::Reset(_))).count();
        let current = [row(1, 2, 3), row(2, 1, 3)];
        assert_eq!(check(Reset::IfBehind, &current), MovePlan::Nothing);
        assert_eq!(resets(check(Reset::IfBehind, &[row(1, 2, 1), row(2, 1, 1)])), 2);
        assert_eq!(resets(check(Reset::Always, &current)), 2);
        let counted = commit(check(Reset::Always, &current)).update.update;
        assert_eq!(counted[1].1.reading.as_ref().map(Reading::unread), Some(4));
    }
}
