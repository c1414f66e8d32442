//! What the table's items say, read and ready to use.

use chrono::{DateTime, Utc};

use super::keys::SortKey;
use crate::model::{MessageGroupUuid, MessageUuid, Participant, UserUuid};

/// A message as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its uuid.
    pub uuid: MessageUuid,
    /// The conversation it belongs to.
    pub group: MessageGroupUuid,
    /// Who wrote it.
    pub author: Participant,
    /// The text.
    pub body: String,
    /// When the server took it, microseconds.
    pub created_at: DateTime<Utc>,
    /// Its place in the conversation.
    pub sort_key: SortKey,
}

/// One participant's row of a conversation, as it stands in their list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Whose list the row is in.
    pub owner: UserUuid,
    /// The conversation.
    pub group: MessageGroupUuid,
    /// The other participant.
    pub other: Participant,
    /// The newest text when the row was written.
    pub body: String,
    /// Who wrote that text; a row of the legacy system does not say.
    pub author: Option<UserUuid>,
    /// The row's place in the list.
    pub sort_key: SortKey,
}

/// Who may read and write a message group. Never changes once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The conversation.
    pub group: MessageGroupUuid,
    /// Both users; the same one twice in a conversation with oneself, which only the legacy system allowed.
    pub participants: [Participant; 2],
    /// Whether messages of the legacy system can be among the group's: their times need reading with care.
    pub is_legacy: bool,
    /// Counts the rows put where one was missing; a put is conditional on it.
    pub version: u64,
}

impl Membership {
    /// A conversation that begins now.
    pub fn begin(group: MessageGroupUuid, participants: [Participant; 2]) -> Self {
        Self { group, participants, is_legacy: false, version: 1 }
    }

    /// Both participants' rows, `newest` being the conversation's newest message.
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

    /// Whether `user` takes part.
    pub fn has(&self, user: UserUuid) -> bool {
        self.participants.iter().any(|participant| participant.uuid == user)
    }

    /// The participant who is not `user`.
    pub fn other_than(&self, user: UserUuid) -> &Participant {
        let [first, second] = &self.participants;
        if first.uuid == user { second } else { first }
    }
}
