//! The calls to a stream that the consumer needs. Implemented with DynamoDB Streams, and by the simulator of the tests.

use std::future::Future;

use super::ids::{SequenceNumber, ShardId, StreamArn};
use crate::messages_table::attributes::Item;

/// A shard as the stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Id of the shard.
    pub id: ShardId,
    /// The shard that this shard continues. A parent that is not listed any more counts as finished.
    pub parent: Option<ShardId>,
    /// Whether the shard can get records. Its children get records only after it is closed.
    pub is_open: bool,
}

/// The position at which reading a shard starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the oldest record that the stream still has.
    TrimHorizon,
    /// After the record with this sequence number.
    After(SequenceNumber),
}

/// One change of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Position in the shard.
    pub sequence_number: SequenceNumber,
    /// Approximate time at which the stream received the record, in milliseconds since 1970.
    pub created_at: Option<i64>,
    /// The change.
    pub change: RecordChange,
}

/// The change that a record describes.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordChange {
    /// A new item.
    Inserted(Item),
    /// An item was changed or removed, or the record does not contain the new item.
    Other,
}

/// The result of one read.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The records in order. Often there are none, even if later pages have records.
    pub records: Vec<Record>,
    /// The iterator of the next read. `None` only at the end of a closed shard.
    pub next: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Throttled, timed out or interrupted: a retry can succeed.
    #[error("{operation}: DynamoDB Streams is unavailable")]
    Unavailable {
        /// The API operation.
        operation: &'static str,
        /// The error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The iterator is older than 15 minutes.
    #[error("the shard iterator has expired")]
    IteratorExpired,
    /// Records after the position were removed, because the stream keeps records for only 24 hours.
    #[error("records after the position were trimmed")]
    Trimmed,
    /// The stream or the shard does not exist.
    #[error("{operation}: the stream or the shard does not exist")]
    Gone {
        /// The API operation.
        operation: &'static str,
    },
    /// Any other error: a bug, or a missing IAM permission.
    #[error("{operation}: DynamoDB Streams rejected the request")]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// The error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A stream of changes.
pub trait StreamSource: Send + Sync + 'static {
    /// Returns the current stream of the table.
    fn stream(&self) -> impl Future<Output = Result<StreamArn, StreamError>> + Send;
    /// Returns all listed shards.
    fn shards(&self, stream: &StreamArn) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;
    /// Returns the listed children of a shard that has ended.
    fn children(
        &self,
        stream: &StreamArn,
        parent: &ShardId,
    ) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;
    /// Returns an iterator that starts at `position`.
    fn iterator(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        position: &Position,
    ) -> impl Future<Output = Result<String, StreamError>> + Send;
    /// Reads the next records.
    fn records(&self, iterator: &str) -> impl Future<Output = Result<Batch, StreamError>> + Send;
}
