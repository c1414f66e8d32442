//! What failed permanently, kept where an operator finds it. The message itself stays in the messages table; a set-aside
//! entry has its keys and the reason.

use std::fmt;
use std::future::Future;

use super::ids::{SequenceNumber, StreamArn};
use crate::messages_table::TableError;
use crate::model::MessageGroupUuid;

/// What is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A record of the stream whose message could not be applied.
    Record(SequenceNumber),
    /// A message group that could not be reconciled after a gap.
    Group(MessageGroupUuid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(number) => write!(f, "record {number}"),
            Self::Group(group) => write!(f, "group {group}"),
        }
    }
}

/// A set-aside entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The stream that it belongs to.
    pub stream: StreamArn,
    /// The record or the group.
    pub subject: Subject,
    /// Why it failed.
    pub reason: String,
    /// Partition key of the message.
    pub message_pk: String,
    /// Sort key of the message; empty if the newest message of a group could not be read.
    pub message_sk: String,
    /// When it was set aside, in RFC 3339 format.
    pub set_aside_at: String,
}

/// The store of set-aside entries.
pub trait SetAsideTable: Send + Sync + 'static {
    /// Stores an entry. Storing the same entry again changes nothing.
    fn put(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
    /// All entries, the oldest first.
    fn list(&self) -> impl Future<Output = Result<Vec<SetAside>, TableError>> + Send;
    /// Removes an entry.
    fn remove(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
}
