//! The stream consumer (access pattern E): when a message arrives, the consumer appends it to the feeds of both participants,
//! and moves its group to the top of their lists.
//!
//! # Principles
//! - **Effects are idempotent.** A move is conditional on the rows that it replaces, and a row never moves backward. Applying a
//!   record twice changes nothing, so a process may crash at any point.
//! - **Each feed contains every message once.** The order of a feed is that of the stream and does not depend on clocks. Each
//!   row contains, for each shard, the position of the last message that was fed, and a transaction that feeds messages is
//!   conditional on these positions. The entry and the positions are written together, so a replay adds nothing. [`origin`]
//!   describes how the positions show whether a message was fed.
//! - **The checkpoint is written after the effect.** After a crash, work is repeated, and none is lost.
//! - **Each shard has a lease** ([`lease`]). Any number of processes share the shards. A process writes to a lease only under
//!   the epoch in which it took the lease, so a process that was paused and has lost it cannot damage anything.
//! - **Parents are read before children.** A shard is read only after its parent is finished. The end of a shard is written
//!   after its children have leases, so no child is forgotten.
//! - **One bad record does not stop the consumer.** A record that fails permanently is retried a few times and then set
//!   aside ([`set_aside`]). An operator can list and replay set-aside records. During an outage nothing is set aside: the
//!   consumer waits.
//! - **A gap is never skipped silently.** If records were trimmed before they were read, the reader requests a
//!   [repair](repair), which [reconciles](reconcile) all groups with their newest messages, once for the whole table. The
//!   reader continues during the repair, so a long repair does not cause a new gap.
//!
//! # Processing of a record
//! 1. [`Consumer`] lists the shards, takes leases and runs a [`reader`] for each of them.
//! 2. The reader reads a batch through [`source`]. [`arrivals()`](arrivals::arrivals) collects the messages of each group and
//!    skips all other records, such as the consumer's own writes.
//! 3. [`effect::Writer`] reads the rows of the group from the index. [`planner::plan`] decides which messages are fed and which
//!    rows move.
//! 4. [`appender`] gives the entries the next positions of both feeds. One transaction puts the entries, deletes the old rows
//!    and puts the new ones. If a row is newer than the message, it is only updated.
//! 5. A condition fails if the index lagged or another process was faster. The rows are then read again, first from the index
//!    and then from the table.
//! 6. [`progress`] creates a checkpoint of the batch, which is written under the lease.
//!
//! # Trade-offs
//! - Each shard is read four times per second, and nearly five times while messages arrive. DynamoDB allows five reads per
//!   second. Most of the time between the arrival of a message and the move of its rows is the wait for the next read.
//! - The messages of one group in one batch cause one move and share one entry in each feed, so under load a message costs
//!   less than one move.
//! - A record that is set aside has no position in a feed. When it is replayed, later messages may already have a position, so
//!   the feeds are reset instead.
//! - Leases are listed with eventually consistent reads, which cost half. Each decision that is based on such a list is checked
//!   by the condition of a write.
//!
//! The consumer uses other systems only through the traits [`source::StreamSource`], [`lease::LeaseTable`],
//! [`repair::RepairTable`], [`set_aside::SetAsideTable`] and [`rows::GroupRows`]. They are implemented with DynamoDB, and by the
//! simulator in `tests/it/simulator`.

pub mod appender;
pub mod arrivals;
mod consumer;
mod consumer_items;
pub mod consumer_table;
pub mod dynamodb;
pub mod effect;
pub mod health;
pub mod ids;
pub mod lease;
mod lost_records;
mod open_shards;
pub mod origin;
mod parts;
pub mod planner;
mod progress;
mod reader;
pub mod reconcile;
mod renewal;
pub mod repair;
mod repair_items;
mod repairer;
pub mod rows;
pub mod set_aside;
pub mod source;
mod update_expression;

pub use self::consumer::{Consumer, ConsumerError};
