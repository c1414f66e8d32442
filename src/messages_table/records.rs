//! The records that the table's items hold, without DynamoDB types.

use chrono::{DateTime, Utc};

use super::keys::SortKey;
use crate::model::{MessageGroupUuid, MessageUuid, Participant, UserUuid};

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
    /// Time at which the server accepted the message, in microseconds.
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
    /// Incremented with every write of a missing row. Such a write is conditional on the version.
    pub version: u64,
}

impl Membership {
    /// The membership of a new group.
    pub fn begin(group: MessageGroupUuid, participants: [Participant; 2]) -> Self {
        Self { group, participants, is_legacy: false, version: 1 }
    }

    /// The rows of both participants. `newest` is the newest message of the group.
    pub fn rows(&self, newest: &Message) -> [GroupRow; 2] {
        let [one, other] = &self.participants;
        [(one, other), (other, one)].map(|(owner, counterpart)| GroupRow {
            owner: owner.uuid,
            group: self.group,
            other: counterpart.clone(),
            body: newest.body.clone(),
            author: Some(newest.author.uuid),
            sort_key: newest.sort_key.clone(),
        })
    }

    /// Whether `user` is a participant.
    pub fn has(&self, user: UserUuid) -> bool {
        self.participants.iter().any(|participant| participant.uuid == user)
    }

    /// The participant who is not `user`.
    pub fn other_than(&self, user: UserUuid) -> &Participant {
        let [first, second] = &self.participants;
        if first.uuid == user { second } else { first }
    }
}
