//! Decides what to do about a batch of records and about the rows of a group, without I/O.

use std::collections::BTreeMap;

use super::ids::SequenceNumber;
use super::source::{Record, RecordChange};
use crate::messages_table::items::{Item, to_message};
use crate::messages_table::keys::{PK, SK, group_of_messages_pk};
use crate::messages_table::{GroupRow, ItemError, Membership, Message, RowMove, SortKey, VersionBump};
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// A batch of records, classified.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The newest message of each group that has a message in the batch.
    pub newest: Vec<Arrival>,
    /// Number of messages that a newer message of the same group replaces.
    pub coalesced: usize,
    /// Number of records that are not new messages, mostly the consumer's own moves.
    pub skipped: usize,
    /// Messages whose items are malformed.
    pub malformed: Vec<Malformed>,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Position of the record in its shard.
    pub sequence_number: SequenceNumber,
    /// The message.
    pub message: Message,
}

/// A message whose item is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Position of the record in its shard.
    pub sequence_number: SequenceNumber,
    /// Partition key of its item.
    pub pk: String,
    /// Sort key of its item.
    pub sk: String,
    /// What is wrong with it.
    pub error: ItemError,
}

/// Classifies a batch: only inserted messages count, and of each group only the newest one.
pub fn arrivals(records: &[Record]) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut newest: BTreeMap<MessageGroupUuid, Arrival> = BTreeMap::new();
    for record in records {
        let Some(item) = inserted_message(&record.change) else {
            arrivals.skipped += 1;
            continue;
        };
        let message = match to_message(item) {
            Ok(message) => message,
            Err(error) => {
                let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok()).cloned().unwrap_or_default();
                let sequence_number = record.sequence_number.clone();
                arrivals.malformed.push(Malformed { sequence_number, pk: text(PK), sk: text(SK), error });
                continue;
            }
        };
        let before = newest.get(&message.group);
        arrivals.coalesced += usize::from(before.is_some());
        if before.is_none_or(|before| before.message.sort_key < message.sort_key) {
            newest.insert(message.group, Arrival { sequence_number: record.sequence_number.clone(), message });
        }
    }
    arrivals.newest = newest.into_values().collect();
    arrivals
}

fn inserted_message(change: &RecordChange) -> Option<&Item> {
    let RecordChange::Inserted(item) = change else { return None };
    let pk = item.get(PK)?.as_s().ok()?;
    group_of_messages_pk(pk).map(|_| item)
}

/// Where the rows of a plan were read.
pub enum RowsSource<'a> {
    /// In the index, which may lag: a row that is missing there can be in the table.
    Index {
        /// The participants, as the rows name them.
        participants: &'a [Participant; 2],
    },
    /// In the partitions of both participants, after the membership was read.
    Table {
        /// The participants, and the version under which a missing row may be put.
        membership: &'a Membership,
    },
}

/// What to do about the rows of a group.
#[derive(Debug, PartialEq, Eq)]
pub enum MovePlan {
    /// Every row is at least as new as the message.
    Nothing,
    /// A row is missing in the index. The table must be read.
    ReadTable,
    /// Move these rows in one transaction.
    Move(RowMove),
}

/// Plans the move of the rows of a group to `message`, with the sort key `to`. A row never moves backward.
pub fn plan(message: &Message, to: &SortKey, source: &RowsSource<'_>, rows: &[GroupRow]) -> MovePlan {
    let participants = match source {
        RowsSource::Index { participants } => participants,
        RowsSource::Table { membership } => &membership.participants,
    };
    let mut delete: Vec<(UserUuid, SortKey)> = Vec::new();
    let mut put: Vec<GroupRow> = Vec::new();
    let mut missing = false;
    let [one, other] = participants;
    for (owner, counterpart) in [(one, other), (other, one)] {
        if put.iter().any(|row| row.owner == owner.uuid) {
            continue; // A conversation with oneself has one row.
        }
        let mut own: Vec<&GroupRow> = rows.iter().filter(|row| row.owner == owner.uuid).collect();
        // The index may return a row twice, and a transaction may contain it only once.
        own.sort_by(|a, b| a.sort_key.cmp(&b.sort_key));
        own.dedup_by(|a, b| a.sort_key == b.sort_key);
        let newest = own.iter().map(|row| &row.sort_key).max();
        if newest.is_some_and(|newest| newest >= to || newest >= &message.sort_key) {
            continue;
        }
        missing |= own.is_empty();
        let counterpart = own.first().map_or(counterpart, |row| &row.other);
        delete.extend(own.iter().map(|row| (owner.uuid, row.sort_key.clone())));
        put.push(GroupRow {
            owner: owner.uuid,
            group: message.group,
            other: counterpart.clone(),
            body: message.body.clone(),
            author: Some(message.author.uuid),
            sort_key: to.clone(),
        });
    }
    if put.is_empty() {
        return MovePlan::Nothing;
    }
    match source {
        RowsSource::Index { .. } if missing => MovePlan::ReadTable,
        RowsSource::Index { .. } => MovePlan::Move(RowMove { delete, put, bump: None }),
        RowsSource::Table { membership } => {
            let bump = missing.then_some(VersionBump { group: message.group, version: membership.version });
            MovePlan::Move(RowMove { delete, put, bump })
        }
    }
}

/// The participants, as the rows of a group name them.
pub fn participants_of(rows: &[GroupRow]) -> Option<[Participant; 2]> {
    let first = rows.first()?;
    let owner = rows.iter().map(|row| &row.other).find(|other| other.uuid == first.owner);
    // Only the row of the other participant has the names of the owner. Without that row, the names are unknown.
    let owner = owner.cloned().unwrap_or(Participant { uuid: first.owner, names: Default::default() });
    Some([owner, first.other.clone()])
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::messages_table::items::from_message;
    use crate::model::{MessageUuid, NameCopy};

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
        GroupRow { owner: user(owner).uuid, group, other: user(other), body, author: Some(user(1).uuid), sort_key }
    }

    fn membership() -> Membership {
        Membership { group: message(8, 0).group, participants: [user(1), user(2)], is_legacy: false, version: 5 }
    }

    fn plan_from_index(second: u32, rows: &[GroupRow]) -> MovePlan {
        let participants = [user(1), user(2)];
        plan(&message(8, second), &key(second), &RowsSource::Index { participants: &participants }, rows)
    }

    #[test]
    fn of_a_batch_the_newest_message_of_each_group_counts() {
        let record =
            |number: u32, change| Record { sequence_number: number.to_string().into(), created_at: None, change };
        let mut odd = from_message(&message(8, 9));
        odd.remove("message");
        let records = [
            record(1, RecordChange::Inserted(from_message(&message(8, 1)))),
            record(2, RecordChange::Inserted(from_message(&message(8, 3)))),
            record(3, RecordChange::Inserted(from_message(&message(8, 2)))),
            record(4, RecordChange::Inserted(from_message(&message(7, 1)))),
            record(5, RecordChange::Other),
            record(6, RecordChange::Inserted(crate::messages_table::items::from_group_row(&row(1, 2, 1)))),
            record(7, RecordChange::Inserted(odd)),
        ];
        let found = arrivals(&records);
        let newest: Vec<Message> = found.newest.into_iter().map(|arrival| arrival.message).collect();
        assert_eq!(newest, [message(7, 1), message(8, 3)]);
        assert_eq!((found.coalesced, found.skipped), (2, 2));
        assert_eq!(found.malformed.iter().map(|it| &*it.sequence_number).collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn both_rows_move_and_a_replay_moves_none() {
        let rows = [row(1, 2, 1), row(2, 1, 1)];
        let MovePlan::Move(moved) = plan_from_index(2, &rows) else { panic!("no move") };
        assert_eq!(moved.put, [row(1, 2, 2), row(2, 1, 2)]);
        assert_eq!(moved.delete, [(user(1).uuid, key(1)), (user(2).uuid, key(1))]);
        assert_eq!(moved.bump, None);
        assert_eq!(plan_from_index(2, &moved.put), MovePlan::Nothing);
    }

    #[test]
    fn a_row_never_moves_backward() {
        assert_eq!(plan_from_index(2, &[row(1, 2, 3), row(2, 1, 2)]), MovePlan::Nothing);
        let MovePlan::Move(moved) = plan_from_index(2, &[row(1, 2, 3), row(2, 1, 1)]) else { panic!("no move") };
        assert_eq!(moved.put, [row(2, 1, 2)]);
        assert_eq!(moved.delete, [(user(2).uuid, key(1))]);
    }

    #[test]
    fn two_rows_of_one_list_become_one() {
        let MovePlan::Move(moved) = plan_from_index(3, &[row(1, 2, 1), row(1, 2, 2), row(2, 1, 1)]) else {
            panic!("no move")
        };
        assert_eq!(moved.put.len(), 2);
        assert_eq!(moved.delete.len(), 3);
    }

    #[test]
    fn a_row_that_the_index_shows_twice_is_deleted_once() {
        let MovePlan::Move(moved) = plan_from_index(3, &[row(1, 2, 1), row(1, 2, 1), row(2, 1, 1)]) else {
            panic!("no move")
        };
        assert_eq!(moved.delete, [(user(1).uuid, key(1)), (user(2).uuid, key(1))]);
    }

    #[test]
    fn a_missing_row_is_put_only_on_the_tables_word_and_under_the_version() {
        assert_eq!(plan_from_index(2, &[row(1, 2, 1)]), MovePlan::ReadTable);
        let membership = membership();
        let view = RowsSource::Table { membership: &membership };
        let MovePlan::Move(moved) = plan(&message(8, 2), &key(2), &view, &[row(1, 2, 1)]) else { panic!("no move") };
        assert_eq!(moved.put, [row(1, 2, 2), row(2, 1, 2)]);
        assert_eq!(moved.bump, Some(VersionBump { group: membership.group, version: 5 }));
        let MovePlan::Move(moved) = plan(&message(8, 2), &key(2), &view, &[row(1, 2, 1), row(2, 1, 1)]) else {
            panic!("no move")
        };
        assert_eq!(moved.bump, None);
    }

    #[test]
    fn participants_are_read_off_the_rows() {
        assert_eq!(participants_of(&[row(2, 1, 1), row(1, 2, 1)]), Some([user(2), user(1)]));
        let alone = participants_of(&[row(2, 1, 1)]).expect("participants");
        assert_eq!(alone.map(|participant| participant.uuid), [user(2).uuid, user(1).uuid]);
        assert_eq!(participants_of(&[]), None);
    }
}
