//! The stream consumer (access pattern E): when a message arrives, its group moves to the top of the lists of both
//! participants.
//!
//! # Principles
//! - **Effects are idempotent.** A move is conditional on the rows that it replaces, and a row never moves backward. Applying a
//!   record twice changes nothing, so a process may crash at any point.
//! - **The checkpoint moves after the effect.** A crash repeats work and loses none.
//! - **A lease for each shard** ([`lease`]). Any number of processes share the shards. A process writes to a lease only under
//!   the epoch in which it took it, so a paused process that continues cannot damage anything.
//! - **Parents before children.** A shard is read when its parent is finished. The end of a shard is written after its children
//!   have leases, so no child is forgotten.
//! - **One bad record stops nobody.** A record that fails permanently is retried a few times and then set aside
//!   ([`set_aside`]), where an operator can list and replay it. During an outage nothing is set aside: the consumer waits.
//! - **A gap is never skipped silently.** If records were trimmed before they were read, all groups are
//!   [reconciled](reconcile) with their newest messages.
//!
//! # The way of a record
//! 1. [`Consumer`] lists the shards, takes leases and runs a [`reader`] for each.
//! 2. The reader reads a batch through [`source`]. [`planner::arrivals`] keeps the newest message of each group; all other
//!    records, such as the consumer's own moves, are skipped.
//! 3. [`effect::move_to`] reads the rows of the group from the index. [`planner::plan`] decides which rows move. One transaction
//!    deletes the old rows and puts the new ones.
//! 4. If a condition fails, the index lagged or another process was faster. The rows are read again, at last from the table.
//! 5. [`progress`] makes a checkpoint of the batch, which is written under the lease.
//!
//! # Trade-offs
//! - Each shard is read four times a second, of the five reads that it allows. That is most of the time until a row moves.
//! - The messages of one group in one batch are moved once: under load a message costs less than one move.
//! - Leases are listed with reads that may lag, for half the price. What is decided by such a list, a condition checks.
//!
//! The seams are traits: [`source::StreamSource`], [`lease::LeaseTable`], [`set_aside::SetAsideTable`] and
//! [`rows::GroupRows`]. DynamoDB is behind them, or the simulator in `tests/it/simulator`.

mod consumer;
pub mod dynamodb;
pub mod effect;
pub mod health;
pub mod ids;
pub mod lease;
mod lease_items;
pub mod lease_table;
mod lease_update;
mod parts;
pub mod planner;
mod progress;
mod reader;
pub mod reconcile;
pub mod rows;
pub mod set_aside;
pub mod source;

pub use self::consumer::{Consumer, ConsumerError};
