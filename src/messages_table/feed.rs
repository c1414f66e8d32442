//! Feeds. The feed of a user contains each message of the user's groups once, in the order in which the stream
//! delivered the messages. A [`FeedEntry`] is one item of the table; `feed_items` converts it.

use std::sync::Arc;

use super::keys::SortKey;
use super::reading::Reading;
use super::records::Message;
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// One item of a feed: the messages of one group that one batch of the stream contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// User who owns the feed.
    pub owner: UserUuid,
    /// Position in the feed: 1 for the first entry, without gaps.
    pub position: u64,
    /// Random text. If an entry has the same position and another id, it is another entry: the table was restored, or
    /// all entries expired and the positions began again at 1.
    pub id: String,
    /// Number of events in the feed up to the end of this entry.
    pub events: u64,
    /// Time at which the consumer wrote the entry, in milliseconds since 1970.
    pub written_at: i64,
    /// Time after which DynamoDB may delete the entry, in seconds since 1970. `None` if the entry never expires.
    pub expires_at: Option<i64>,
    /// The content of the entry.
    pub content: FeedContent,
}

/// The content of a feed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedContent {
    /// Messages of one group, in the order of their events.
    Messages(Arc<FedMessages>),
    /// Records of the stream were lost, so messages of this group can be missing in the feed.
    Reset(MessageGroupUuid),
}

/// The messages of one group in a feed entry, and the state of the group after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedMessages {
    /// Group of the messages.
    pub group: MessageGroupUuid,
    /// The participant who does not own the feed.
    pub other: Participant,
    /// The messages in the order of the stream. Not empty.
    pub messages: Vec<FedMessage>,
    /// The newest message of the group, if it is not in `messages`.
    pub newer: Option<FedMessage>,
    /// Number of messages that the owner has received and read after this entry.
    pub reading: Reading,
}

/// A message in a feed entry. Its author is the owner of the feed or the other participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedMessage {
    /// Sort key of the message in its group.
    pub sort_key: SortKey,
    /// Unique identifier of the message.
    pub uuid: crate::model::MessageUuid,
    /// Text of the message.
    pub body: String,
    /// Whether the owner of the feed is the author.
    pub is_own: bool,
}

/// The last entry of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedHead {
    /// Position of the entry.
    pub position: u64,
    /// Number of events in the feed.
    pub events: u64,
    /// Id of the entry.
    pub id: String,
}

impl FeedContent {
    /// Returns the number of events of an entry with this content.
    pub fn events(&self) -> u64 {
        match self {
            Self::Messages(fed) => fed.messages.len() as u64,
            Self::Reset(_) => 1,
        }
    }

    /// Returns the group of the entry.
    pub fn group(&self) -> MessageGroupUuid {
        match self {
            Self::Messages(fed) => fed.group,
            Self::Reset(group) => *group,
        }
    }
}

impl FedMessage {
    /// Creates the form of `message` that is stored in the feed of `owner`.
    pub fn of(message: &Message, owner: UserUuid) -> Self {
        Self {
            sort_key: message.sort_key.clone(),
            uuid: message.uuid,
            body: message.body.clone(),
            is_own: message.author.uuid == owner,
        }
    }
}
