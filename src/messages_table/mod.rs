//! The one DynamoDB table: its keys, its items, and a function for each access pattern.
//!
//! Reads are strongly consistent, but for the index, which cannot be: whoever writes then reads sees the write.

mod answer;
mod capacity;
pub mod error;
pub mod items;
pub mod json;
pub mod keys;
mod legacy;
mod query;
mod range;
mod reads;
mod records;
pub mod schema;
mod writes;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;

pub use self::capacity::Consumed;
use self::capacity::Meter;
pub use self::error::TableError;
pub use self::items::ItemError;
pub use self::keys::SortKey;
pub use self::range::{Direction, SortKeyRange};
pub use self::reads::{ScanPosition, Slice};
pub use self::records::{GroupRow, Membership, Message};
pub use self::writes::{Created, MoveOutcome, RowMove, VersionBump};

/// The messages table at one endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MessagesTable {
    client: Client,
    name: String,
    meter: Arc<Meter>,
}

impl MessagesTable {
    /// The table `name`, reached through `client`.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into(), meter: Arc::default() }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
