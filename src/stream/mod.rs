//! The stream consumer (access pattern E): when a message arrives, it is appended to the feeds of both participants, and its
//! group moves to the top of their lists.
//!
//! # Principles
//! - **Effects are idempotent.** A move is conditional on the rows that it replaces, and a row never moves backward. Applying a
//!   record twice changes nothing, so a process may crash at any point.
//! - **Every message once in each feed.** The stream is the order of the feeds; no clock decides. Each row has the position of the
//!   last message that was fed, for each shard, and a transaction that feeds is conditional on it. The entry and the position
//!   are written together, so a replay adds nothing ([`origin`] says how a row tells that a message was fed).
//! - **The checkpoint moves after the effect.** A crash repeats work and loses none.
//! - **A lease for each shard** ([`lease`]). Any number of processes share the shards. A process writes to a lease only under
//!   the epoch in which it took it, so a paused process that continues cannot damage anything.
//! - **Parents before children.** A shard is read when its parent is finished. The end of a shard is written after its children
//!   have leases, so no child is forgotten.
//! - **One bad record does not stop the consumer.** A record that fails permanently is retried a few times and then set
//!   aside ([`set_aside`]), where an operator can list and replay it. During an outage nothing is set aside: the
//!   consumer waits.
//! - **A gap is never skipped silently.** If records were trimmed before they were read, the reader requests a
//!   [repair](repair), which [reconciles](reconcile) all groups with their newest messages, once for the whole table. The
//!   reading goes on meanwhile, so a repair of any length makes no new gap.
//!
//! # The way of a record
//! 1. [`Consumer`] lists the shards, takes leases and runs a [`reader`] for each.
//! 2. The reader reads a batch through [`source`]. [`planner::arrivals`] keeps the messages of each group; all other records,
//!    such as the consumer's own writes, are skipped.
//! 3. [`effect::Writer`] reads the rows of the group from the index. [`planner::plan`] decides which messages are fed and which
//!    rows move.
//! 4. [`appender`] gives the entries the next positions of both feeds. One transaction puts them, deletes the old rows and puts
//!    the new ones. A row that is newer than the message stays where it is and is updated.
//! 5. If a condition fails, the index lagged or another process was faster. The rows are read again, at last from the table.
//! 6. [`progress`] makes a checkpoint of the batch, which is written under the lease.
//!
//! # Trade-offs
//! - Each shard is read four times a second, of the five reads that it allows. That is most of the time until a row moves.
//! - The messages of one group in one batch are moved once and share one entry of each feed: under load a message costs less
//!   than one move.
//! - A record that is set aside has no position in a feed. When it is replayed, later messages may have one already, so the feeds
//!   are reset instead.
//! - Leases are listed with reads that may lag, for half the price. What is decided by such a list, a condition checks.
//!
//! The seams are traits: [`source::StreamSource`], [`lease::LeaseTable`], [`repair::RepairTable`],
//! [`set_aside::SetAsideTable`] and [`rows::GroupRows`]. DynamoDB is behind them, or the simulator in `tests/it/simulator`.

pub mod appender;
mod consumer;
pub mod dynamodb;
pub mod effect;
pub mod health;
pub mod ids;
pub mod lease;
mod lease_items;
pub mod lease_table;
mod lease_update;
mod lost_records;
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

pub use self::consumer::{Consumer, ConsumerError};
