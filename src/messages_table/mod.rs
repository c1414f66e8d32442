//! The DynamoDB table of messages: its keys, its items, and one function for each access pattern.
//!
//! Every read that a request or the consumer makes of the table itself is strongly consistent, so a client that writes and
//! then reads sees its write. Reads of the index are eventually consistent, because DynamoDB offers no other reads of it.
//!
//! The files import each other in one direction: `keys`, `records` and `feed` do not use DynamoDB calls, `attributes` reads
//! the attributes of any item, `items` and `feed_items` convert between records and items, `calls` limits concurrent calls,
//! `query` and `response_reader` read pages, and `reads`, `feed_reads`, `writes`, `read_markers` and `legacy` add the access
//! patterns to [`MessagesTable`].

pub mod attributes;
mod calls;
pub(crate) mod capacity;
pub(crate) mod error;
mod fed;
pub mod feed;
pub mod feed_items;
mod feed_reads;
pub mod items;
pub mod json;
pub(crate) mod keys;
mod legacy;
mod legacy_cache;
mod query;
mod range;
mod read_markers;
mod reading;
mod reads;
mod records;
mod response_reader;
pub mod schema;
mod table;
mod writes;

pub use self::attributes::ItemError;
pub use self::calls::{CALLS_OF_REQUEST, RequestCalls, StoreCalls};
pub use self::capacity::Consumed;
pub use self::error::TableError;
pub use self::fed::{Fed, StreamPosition};
pub use self::keys::SortKey;
pub use self::range::{Direction, SortKeyRange};
pub use self::reading::Reading;
pub use self::reads::{ScanPosition, Slice};
pub use self::records::{FirstRequest, GroupRow, Hash, Membership, Message, participants_of};
pub use self::table::MessagesTable;
pub use self::writes::{Applied, Created, GroupUpdate, UpdateProblem};
