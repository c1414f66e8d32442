//! Feeds: for each user, every message of every group of theirs at one position, in the order in which the stream delivered
//! them. [`FeedEntry`] is one item; `feed_items` converts it.

use std::sync::Arc;

use super::keys::SortKey;
use super::reading::Reading;
use super::records::Message;
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// One item of a feed: what one batch of the stream brought for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// User who owns the feed.
    pub owner: UserUuid,
    /// Position in the feed: 1 for the first entry, without gaps.
    pub position: u64,
    /// Random. An entry with the same position and another id is not the same entry: the table was restored, or all entries
    /// had expired and the positions began again.
    pub id: String,
    /// Number of events in the feed up to the end of this entry.
    pub events: u64,
    /// When the consumer wrote the entry, in milliseconds since 1970.
    pub written_at: i64,
    /// When DynamoDB may delete the entry, in seconds since 1970. `None`: never.
    pub expires_at: Option<i64>,
    /// What the entry is about.
    pub content: FeedContent,
}

/// What a feed entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedContent {
    /// Messages of one group, in the order of their events.
    Messages(Arc<FedMessages>),
    /// Records of the stream were lost. Messages of this group can be missing in the feed.
    Reset(MessageGroupUuid),
}

/// The messages of one group in a feed entry, and the state of the group after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedMessages {
    /// Group of the messages.
    pub group: MessageGroupUuid,
    /// The participant who does not own the feed.
    pub other: Participant,
    /// At least one message, in the order of the stream.
    pub messages: Vec<FedMessage>,
    /// The newest message of the group, if it is none of `messages`.
    pub newer: Option<FedMessage>,
    /// What the owner has received and read.
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
    /// Number of events of an entry with this content.
    pub fn events(&self) -> u64 {
        match self {
            Self::Messages(fed) => fed.messages.len() as u64,
            Self::Reset(_) => 1,
        }
    }

    /// The group.
    pub fn group(&self) -> MessageGroupUuid {
        match self {
            Self::Messages(fed) => fed.group,
            Self::Reset(group) => *group,
        }
    }
}

impl FedMessage {
    /// `message` in the feed of `owner`.
    pub fn of(message: &Message, owner: UserUuid) -> Self {
        Self {
            sort_key: message.sort_key.clone(),
            uuid: message.uuid,
            body: message.body.clone(),
            is_own: message.author.uuid == owner,
        }
    }
}
