//! The three calls of a stream, as the consumer needs them. DynamoDB Streams is one source; tests have others.

use std::future::Future;

use crate::messages_table::items::Item;

/// A shard's id, unique within its stream.
pub type ShardId = String;

/// A shard as the stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The shard it continues. A parent that is not listed any more counts as finished.
    pub parent: Option<ShardId>,
}

/// Where to begin in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the oldest record there is.
    TrimHorizon,
    /// Behind the record with this sequence number.
    After(String),
}

/// One change of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the shard.
    pub sequence_number: String,
    /// About when it came into the stream, in milliseconds since 1970.
    pub created_at: Option<i64>,
    /// What happened.
    pub change: Change,
}

/// What a record says happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new item.
    Inserted(Item),
    /// An item was changed or removed, or the record does not show what was inserted.
    Other,
}

/// What one read returned.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In order; often empty.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of a closed shard, and only there.
    pub next: Option<String>,
}

/// The end of a call that did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Throttled, timed out or cut off: worth another try.
    #[error("{operation}: DynamoDB Streams is unavailable")]
    Unavailable {
        /// The API operation.
        operation: &'static str,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The iterator is too old: it lives 15 minutes.
    #[error("the shard iterator has expired")]
    IteratorExpired,
    /// Records behind the position are gone: they live 24 hours.
    #[error("records behind the position are trimmed")]
    Trimmed,
    /// There is no such stream or shard.
    #[error("{operation}: there is no such stream or shard")]
    Gone {
        /// The API operation.
        operation: &'static str,
    },
    /// Anything else: a fault of the program or its rights.
    #[error("{operation}: DynamoDB Streams refused")]
    Refused {
        /// The API operation.
        operation: &'static str,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A stream of changes.
pub trait StreamSource: Send + Sync + 'static {
    /// Names the stream, for checkpoints.
    fn stream(&self) -> impl Future<Output = Result<String, StreamError>> + Send;
    /// All shards that are listed.
    fn shards(&self, stream: &str) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;
    /// The children of a shard that has ended, as far as they are listed.
    fn children(&self, stream: &str, parent: &str) -> impl Future<Output = Result<Vec<Shard>, StreamError>> + Send;
    /// An iterator that begins at `position`.
    fn iterator(
        &self,
        stream: &str,
        shard: &str,
        position: &Position,
    ) -> impl Future<Output = Result<String, StreamError>> + Send;
    /// The next records.
    fn records(&self, iterator: &str) -> impl Future<Output = Result<Batch, StreamError>> + Send;
}
