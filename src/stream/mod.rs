//! The stream consumer, pattern E: when a message arrives, its conversation moves to the top of both lists.
//!
//! Processes share the shards by [leases](lease). A batch of records is [planned](planner) without I/O, its
//! [effect](effect) is made durable, and only then the checkpoint moves: a crash at any point repeats work and loses none,
//! and repeated work changes nothing.

pub mod backoff;
mod consumer;
pub mod dynamodb;
pub mod effect;
pub mod health;
pub mod lease;
pub mod lease_table;
pub mod planner;
mod reader;
pub mod reconcile;
pub mod rows;
pub mod set_aside;
pub mod source;

pub use self::consumer::Consumer;
