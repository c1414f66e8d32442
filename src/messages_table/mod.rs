//! The DynamoDB table of messages: its keys, its items, and one function for each access pattern.
//!
//! Every read of the table itself is strongly consistent, so a client that writes and then reads sees its write. Reads of
//! the index are eventually consistent, because DynamoDB offers nothing stronger there.
//!
//! The files import each other in one direction: `keys` and `records` know nothing of DynamoDB calls, `items` converts
//! between the two, `query` and `response_reader` read pages, and `reads`, `writes` and `legacy` add the access patterns to
//! [`MessagesTable`].

mod capacity;
pub(crate) mod error;
pub mod items;
pub mod json;
pub(crate) mod keys;
mod legacy;
mod query;
mod range;
mod reads;
mod records;
mod response_reader;
pub mod schema;
mod table;
mod writes;

pub use self::capacity::Consumed;
pub use self::error::TableError;
pub use self::items::ItemError;
pub use self::keys::SortKey;
pub use self::range::{Direction, SortKeyRange};
pub use self::reads::{ScanPosition, Slice};
pub use self::records::{GroupRow, Membership, Message};
pub use self::table::MessagesTable;
pub use self::writes::{Created, MoveOutcome, RowMove, VersionBump};
