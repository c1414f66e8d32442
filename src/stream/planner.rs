//! What to do about a batch of records and about a group's rows, decided without I/O.

use std::collections::BTreeMap;

use super::source::{Change, Record};
use crate::messages_table::items::{Item, to_message};
use crate::messages_table::keys::{PK, SK, group_of_messages_pk};
use crate::messages_table::{GroupRow, ItemError, Membership, Message, RowMove, SortKey, VersionBump};
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// A batch of records, sorted.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The newest message of each group that got any.
    pub newest: Vec<Arrival>,
    /// How many messages are covered by a newer one of their group.
    pub coalesced: usize,
    /// How many records are none of the consumer's business: its own moves above all.
    pub skipped: usize,
    /// Messages that cannot be read.
    pub malformed: Vec<Malformed>,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The record's place in the stream.
    pub sequence_number: String,
    /// The message.
    pub message: Message,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The record's place in the stream.
    pub sequence_number: String,
    /// Partition key of its item.
    pub pk: String,
    /// Sort key of its item.
    pub sk: String,
    /// What is wrong with it.
    pub error: ItemError,
}

/// Sorts a batch: only inserted messages count, and of each group only the newest.
pub fn arrivals(records: &[Record]) -> Arrivals {
    let mut sorted = Arrivals::default();
    let mut newest: BTreeMap<MessageGroupUuid, Arrival> = BTreeMap::new();
    for record in records {
        let Some(item) = inserted_message(&record.change) else {
            sorted.skipped += 1;
            continue;
        };
        let message = match to_message(item) {
            Ok(message) => message,
            Err(error) => {
                let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok()).cloned().unwrap_or_default();
                let sequence_number = record.sequence_number.clone();
                sorted.malformed.push(Malformed { sequence_number, pk: text(PK), sk: text(SK), error });
                continue;
            }
        };
        let before = newest.get(&message.group);
        sorted.coalesced += usize::from(before.is_some());
        if before.is_none_or(|before| before.message.sort_key < message.sort_key) {
            newest.insert(message.group, Arrival { sequence_number: record.sequence_number.clone(), message });
        }
    }
    sorted.newest = newest.into_values().collect();
    sorted
}

fn inserted_message(change: &Change) -> Option<&Item> {
    let Change::Inserted(item) = change else { return None };
    let pk = item.get(PK)?.as_s().ok()?;
    group_of_messages_pk(pk).map(|_| item)
}

/// Where the rows that a plan is made from were read.
pub enum View<'a> {
    /// In the index, which may lag: what is missing there may be in the table.
    Index {
        /// Both participants, as the rows name them.
        participants: &'a [Participant; 2],
    },
    /// In both participants' own partitions, after the membership was read.
    Table {
        /// Who takes part, and the version under which a missing row may be put.
        membership: &'a Membership,
    },
}

/// What to do about a group's rows.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Every row is as new as the message already.
    Nothing,
    /// A row is missing in the index: only the table can tell.
    AskTable,
    /// Rows to move, all or none.
    Move(RowMove),
}

/// Plans the move of a group's rows to `message`, under the row sort key `to`. A row never moves backward.
pub fn plan(message: &Message, to: &SortKey, view: &View<'_>, rows: &[GroupRow]) -> Plan {
    let participants = match view {
        View::Index { participants } => participants,
        View::Table { membership } => &membership.participants,
    };
    let mut delete: Vec<(UserUuid, SortKey)> = Vec::new();
    let mut put: Vec<GroupRow> = Vec::new();
    let mut missing = false;
    let [one, other] = participants;
    for (owner, counterpart) in [(one, other), (other, one)] {
        if put.iter().any(|row| row.owner == owner.uuid) {
            continue; // A conversation with oneself has one list to stand in.
        }
        let mut own: Vec<&GroupRow> = rows.iter().filter(|row| row.owner == owner.uuid).collect();
        // The index may show a row twice, and a transaction may touch it once only.
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
        return Plan::Nothing;
    }
    match view {
        View::Index { .. } if missing => Plan::AskTable,
        View::Index { .. } => Plan::Move(RowMove { delete, put, bump: None }),
        View::Table { membership } => {
            let bump = missing.then_some(VersionBump { group: message.group, version: membership.version });
            Plan::Move(RowMove { delete, put, bump })
        }
    }
}

/// Both participants as a group's rows name them.
pub fn participants_of(rows: &[GroupRow]) -> Option<[Participant; 2]> {
    let first = rows.first()?;
    let owner = rows.iter().map(|row| &row.other).find(|other| other.uuid == first.owner);
    // Only the counterpart's row has the owner's names; without it, the owner's own row is what is missing.
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

    fn plan_from_index(second: u32, rows: &[GroupRow]) -> Plan {
        let participants = [user(1), user(2)];
        plan(&message(8, second), &key(second), &View::Index { participants: &participants }, rows)
    }

    #[test]
    fn of_a_batch_the_newest_message_of_each_group_counts() {
        let record = |number: u32, change| Record { sequence_number: number.to_string(), created_at: None, change };
        let mut odd = from_message(&message(8, 9));
        odd.remove("message");
        let records = [
            record(1, Change::Inserted(from_message(&message(8, 1)))),
            record(2, Change::Inserted(from_message(&message(8, 3)))),
            record(3, Change::Inserted(from_message(&message(8, 2)))),
            record(4, Change::Inserted(from_message(&message(7, 1)))),
            record(5, Change::Other),
            record(6, Change::Inserted(crate::messages_table::items::from_group_row(&row(1, 2, 1)))),
            record(7, Change::Inserted(odd)),
        ];
        let sorted = arrivals(&records);
        let newest: Vec<Message> = sorted.newest.into_iter().map(|arrival| arrival.message).collect();
        assert_eq!(newest, [message(7, 1), message(8, 3)]);
        assert_eq!((sorted.coalesced, sorted.skipped), (2, 2));
        assert_eq!(sorted.malformed.iter().map(|it| it.sequence_number.as_str()).collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn both_rows_move_and_a_replay_moves_none() {
        let rows = [row(1, 2, 1), row(2, 1, 1)];
        let Plan::Move(moved) = plan_from_index(2, &rows) else { panic!("no move") };
        assert_eq!(moved.put, [row(1, 2, 2), row(2, 1, 2)]);
        assert_eq!(moved.delete, [(user(1).uuid, key(1)), (user(2).uuid, key(1))]);
        assert_eq!(moved.bump, None);
        assert_eq!(plan_from_index(2, &moved.put), Plan::Nothing);
    }

    #[test]
    fn a_row_never_moves_backward() {
        assert_eq!(plan_from_index(2, &[row(1, 2, 3), row(2, 1, 2)]), Plan::Nothing);
        let Plan::Move(moved) = plan_from_index(2, &[row(1, 2, 3), row(2, 1, 1)]) else { panic!("no move") };
        assert_eq!(moved.put, [row(2, 1, 2)]);
        assert_eq!(moved.delete, [(user(2).uuid, key(1))]);
    }

    #[test]
    fn two_rows_of_one_list_become_one() {
        let Plan::Move(moved) = plan_from_index(3, &[row(1, 2, 1), row(1, 2, 2), row(2, 1, 1)]) else {
            panic!("no move")
        };
        assert_eq!(moved.put.len(), 2);
        assert_eq!(moved.delete.len(), 3);
    }

    #[test]
    fn a_row_that_the_index_shows_twice_is_deleted_once() {
        let Plan::Move(moved) = plan_from_index(3, &[row(1, 2, 1), row(1, 2, 1), row(2, 1, 1)]) else {
            panic!("no move")
        };
        assert_eq!(moved.delete, [(user(1).uuid, key(1)), (user(2).uuid, key(1))]);
    }

    #[test]
    fn a_missing_row_is_put_only_on_the_tables_word_and_under_the_version() {
        assert_eq!(plan_from_index(2, &[row(1, 2, 1)]), Plan::AskTable);
        let membership = membership();
        let view = View::Table { membership: &membership };
        let Plan::Move(moved) = plan(&message(8, 2), &key(2), &view, &[row(1, 2, 1)]) else { panic!("no move") };
        assert_eq!(moved.put, [row(1, 2, 2), row(2, 1, 2)]);
        assert_eq!(moved.bump, Some(VersionBump { group: membership.group, version: 5 }));
        let Plan::Move(moved) = plan(&message(8, 2), &key(2), &view, &[row(1, 2, 1), row(2, 1, 1)]) else {
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
