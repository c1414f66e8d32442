//! Records and groups that failed permanently, stored so that an operator can list and replay them. The message itself stays
//! in the messages table. A set-aside entry contains its keys and the reason.

use std::fmt;
use std::future::Future;

use super::ids::{SequenceNumber, StreamArn};
use crate::messages_table::TableError;
use crate::model::MessageGroupUuid;

/// The record or group that is set aside.
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
    /// The stream of the record, or the stream that was consumed when the group failed.
    pub stream: StreamArn,
    /// The record or group that failed.
    pub subject: Subject,
    /// Why it failed.
    pub reason: String,
    /// Partition key of the message.
    pub message_pk: String,
    /// Sort key of the message; empty if the newest message of a group could not be read.
    pub message_sk: String,
    /// Time at which it was set aside, in RFC 3339 format.
    pub set_aside_at: String,
}

/// Storage of set-aside entries. Implemented with DynamoDB, and by the simulator of the tests.
pub trait SetAsideTable: Send + Sync + 'static {
    /// Stores an entry. Replaces an entry of the same record or group.
    fn put(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Returns all entries, in no particular order.
    fn list(&self) -> impl Future<Output = Result<Vec<SetAside>, TableError>> + Send;
    /// Removes an entry.
    fn remove(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
}
