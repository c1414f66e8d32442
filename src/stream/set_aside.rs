//! Records that fail by their own fault, kept where an operator finds them. The message itself stays in its table; what
//! is kept is where it is and why its conversation could not be moved.

use std::future::Future;

use crate::messages_table::TableError;

/// A record set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The stream it came from.
    pub stream: String,
    /// Its place there.
    pub sequence_number: String,
    /// Why it could not be put into effect.
    pub reason: String,
    /// Partition key of the message.
    pub message_pk: String,
    /// Sort key of the message.
    pub message_sk: String,
    /// When, RFC 3339.
    pub set_aside_at: String,
}

/// Where they are kept.
pub trait SetAsideTable: Send + Sync + 'static {
    /// Keeps one; the same record again changes nothing.
    fn put(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
    /// All of them, oldest first.
    fn list(&self) -> impl Future<Output = Result<Vec<SetAside>, TableError>> + Send;
    /// Forgets one.
    fn remove(&self, aside: &SetAside) -> impl Future<Output = Result<(), TableError>> + Send;
}
