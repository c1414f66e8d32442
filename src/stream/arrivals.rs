//! Collects the messages of a batch of records, without I/O.

use std::collections::BTreeMap;

use super::ids::SequenceNumber;
use super::source::{Record, RecordChange};
use crate::messages_table::attributes::Item;
use crate::messages_table::items::to_message;
use crate::messages_table::keys::{PK, SK, group_of_messages_pk};
use crate::messages_table::{ItemError, Message};
use crate::model::MessageGroupUuid;

/// The classified records of a batch.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The messages of each group that has a message in the batch, in the order of the stream.
    pub groups: Vec<Vec<Arrival>>,
    /// Number of records that are not new messages. Most of them are writes of the consumer itself.
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

/// Classifies the records of a batch. Only inserted messages are arrivals.
pub fn arrivals(records: &[Record]) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let mut groups: BTreeMap<MessageGroupUuid, Vec<Arrival>> = BTreeMap::new();
    for record in records {
        let Some(item) = inserted_message(&record.change) else {
            arrivals.skipped += 1;
            continue;
        };
        let sequence_number = record.sequence_number.clone();
        match to_message(item) {
            Ok(message) => groups.entry(message.group).or_default().push(Arrival { sequence_number, message }),
            Err(error) => {
                let text = |name: &str| item.get(name).and_then(|it| it.as_s().ok()).cloned().unwrap_or_default();
                arrivals.malformed.push(Malformed { sequence_number, pk: text(PK), sk: text(SK), error });
            }
        }
    }
    arrivals.groups = groups.into_values().collect();
    arrivals
}

/// Maximum number of messages in a feed entry.
const MAX_ENTRY_MESSAGES: usize = 100;
/// Maximum size of the texts of the messages in a feed entry, in bytes. DynamoDB allows items of 400 KB.
const MAX_ENTRY_BYTES: usize = 100_000;

/// Splits the messages of one group into parts, each of which fits into one feed entry.
pub fn parts_of(arrivals: &[Arrival]) -> impl Iterator<Item = &[Arrival]> {
    let mut rest = arrivals;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |arrival: &&Arrival| {
            bytes += arrival.message.body.len();
            bytes <= MAX_ENTRY_BYTES
        };
        // A message that exceeds the maximum size gets its own entry.
        let count = rest.iter().take(MAX_ENTRY_MESSAGES).take_while(fits).count().max(1).min(rest.len());
        let (part, after) = rest.split_at(count);
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

fn inserted_message(change: &RecordChange) -> Option<&Item> {
    let RecordChange::Inserted(item) = change else { return None };
    let pk = item.get(PK)?.as_s().ok()?;
    group_of_messages_pk(pk).map(|_| item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages_table::SortKey;
    use crate::messages_table::items::{from_marker, from_message};
    use crate::model::{MessageUuid, NameCopy, Participant, UserUuid};
    use uuid::Uuid;

    fn message(group: u128, second: u32) -> Message {
        let names = NameCopy { handle: "user1".to_owned(), display_name: "User 1".to_owned() };
        let uuid = MessageUuid(Uuid::from_u128(second.into()));
        let created_at = format!("2026-11-22T10:42:{second:02}.000000Z").parse().expect("a time");
        Message {
            uuid,
            group: MessageGroupUuid(Uuid::from_u128(group)),
            author: Participant { uuid: UserUuid(Uuid::from_u128(1)), names: names.into() },
            body: format!("at {second}"),
            created_at,
            sort_key: SortKey::of_message(created_at, uuid),
        }
    }

    #[test]
    fn a_batch_is_classified_by_group_in_the_order_of_the_stream() {
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
            record(6, RecordChange::Inserted(from_marker(message(8, 1).created_at))),
            record(7, RecordChange::Inserted(odd)),
        ];
        let found = arrivals(&records);
        let messages = |group: &Vec<Arrival>| group.iter().map(|it| it.message.clone()).collect::<Vec<_>>();
        let groups: Vec<Vec<Message>> = found.groups.iter().map(messages).collect();
        assert_eq!(groups, [vec![message(7, 1)], vec![message(8, 1), message(8, 3), message(8, 2)]]);
        assert_eq!(found.skipped, 2);
        assert_eq!(found.malformed.iter().map(|it| &*it.sequence_number).collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn parts_are_limited_in_messages_and_bytes() {
        let arrival = |body: &str| {
            let message = Message { body: body.to_owned(), ..message(8, 1) };
            Arrival { sequence_number: "1".into(), message }
        };
        let sizes = |arrivals: &[Arrival]| parts_of(arrivals).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&vec![arrival("a"); 220]), [100, 100, 20]);
        assert_eq!(sizes(&vec![arrival(&"a".repeat(40_000)); 5]), [2, 2, 1]);
        assert_eq!(sizes(&vec![arrival(&"a".repeat(200_000)); 2]), [1, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
