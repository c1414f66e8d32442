//! The records that the table's items contain, without types of DynamoDB.

use chrono::{DateTime, Utc};

use super::fed::Fed;
use super::keys::SortKey;
use super::reading::Reading;
use crate::model::{IdempotencyKey, MessageGroupUuid, MessageUuid, Participant, UserUuid};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique identifier of the message.
    pub uuid: MessageUuid,
    /// Group of the message.
    pub group: MessageGroupUuid,
    /// User who wrote the message.
    pub author: Participant,
    /// Text of the message.
    pub body: String,
    /// Time at which the server received the message, with a precision of microseconds.
    pub created_at: DateTime<Utc>,
    /// Sort key in the group's partition.
    pub sort_key: SortKey,
}

/// A message group row: the entry of a group in one participant's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// User who owns the list.
    pub owner: UserUuid,
    /// Group that the row is about.
    pub group: MessageGroupUuid,
    /// The other participant.
    pub other: Participant,
    /// Text of the newest message when the row was written.
    pub body: String,
    /// User who wrote that message. `None` in a legacy row.
    pub author: Option<UserUuid>,
    /// Sort key in the owner's partition.
    pub sort_key: SortKey,
    /// Which messages of the group are in the feeds of its participants.
    pub fed: Fed,
    /// What the owner has received and read. `None` in a row that was written by a version without feeds.
    pub reading: Option<Reading>,
}

impl GroupRow {
    /// Whether the legacy system wrote the row. A row of this system names the author of the newest message.
    pub fn is_legacy(&self) -> bool {
        self.author.is_none()
    }
}

/// Returns the participants of a group, as its rows name them. `None` if there are no rows.
pub fn participants_of(rows: &[GroupRow]) -> Option<[Participant; 2]> {
    let first = rows.first()?;
    let owner = rows.iter().map(|row| &row.other).find(|other| other.uuid == first.owner);
    // Only the row of the other participant has the names of the owner. Without that row, the names are unknown.
    let owner = owner.cloned().unwrap_or(Participant { uuid: first.owner, names: Default::default() });
    Some([owner, first.other.clone()])
}

/// The two users who may read and write a message group. The participants of a group never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Group that the participants share.
    pub group: MessageGroupUuid,
    /// Both users. The legacy system allowed groups of one user, who is then listed twice.
    pub participants: [Participant; 2],
    /// Whether the legacy system created the group. Such a group can contain legacy sort keys, whose text order can differ
    /// from time order.
    pub is_legacy: bool,
    /// Incremented with every write of a missing row, which is conditional on the version.
    pub version: u64,
}

impl Membership {
    /// The membership of a new group.
    pub fn begin(group: MessageGroupUuid, participants: [Participant; 2]) -> Self {
        Self { group, participants, is_legacy: false, version: 1 }
    }

    /// Returns the rows of both participants in a new group. `newest` is the newest message of the group.
    pub fn rows(&self, newest: &Message) -> [GroupRow; 2] {
        let [one, other] = &self.participants;
        [(one, other), (other, one)].map(|(owner, counterpart)| GroupRow {
            owner: owner.uuid,
            group: self.group,
            other: counterpart.clone(),
            body: newest.body.clone(),
            author: Some(newest.author.uuid),
            sort_key: newest.sort_key.clone(),
            fed: Fed::default(),
            reading: Some(Reading::of_new_group(newest.author.uuid == owner.uuid, &newest.sort_key)),
        })
    }

    /// Whether `user` is a participant.
    pub fn has(&self, user: UserUuid) -> bool {
        self.participants.iter().any(|participant| participant.uuid == user)
    }

    /// Returns the participant who is not `user`.
    pub fn other_than(&self, user: UserUuid) -> &Participant {
        let [first, second] = &self.participants;
        if first.uuid == user { second } else { first }
    }
}

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The first request with an idempotency key: the key of its message, and the values with which a repeated request is
/// compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRequest {
    /// User who sent the request.
    pub author: UserUuid,
    /// The key.
    pub key: IdempotencyKey,
    /// Unique identifier of the message.
    pub message_uuid: MessageUuid,
    /// Sort key of the message.
    pub sort_key: SortKey,
    /// The other participant of the conversation.
    pub recipient: UserUuid,
    /// Group of the message. `None` if the two users shared no group at that time. In this case they share at most one group now:
    /// that of the pair item.
    pub group: Option<MessageGroupUuid>,
    /// Hash of the text of the message.
    pub body_hash: Hash,
    /// Hash of the handle, if the request named the recipient by handle.
    pub handle_hash: Option<Hash>,
    /// Time after which DynamoDB deletes the item, with a precision of seconds.
    pub expires_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::NameCopy;

    fn user(number: u128) -> Participant {
        let names = NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") };
        Participant { uuid: UserUuid(Uuid::from_u128(number)), names: names.into() }
    }

    fn row(owner: u128, other: u128) -> GroupRow {
        GroupRow {
            owner: user(owner).uuid,
            group: MessageGroupUuid(Uuid::from_u128(8)),
            other: user(other),
            body: "hello".to_owned(),
            author: None,
            sort_key: SortKey::read("2022-05-04T10:42:39").expect("a sort key"),
            fed: Fed::default(),
            reading: None,
        }
    }

    #[test]
    fn participants_are_read_off_the_rows() {
        assert_eq!(participants_of(&[row(2, 1), row(1, 2)]), Some([user(2), user(1)]));
        let alone = participants_of(&[row(2, 1)]).expect("participants");
        assert_eq!(alone.map(|participant| participant.uuid), [user(2).uuid, user(1).uuid]);
        assert_eq!(participants_of(&[]), None);
    }
}
