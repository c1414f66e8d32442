//! The stream consumer, pattern E: when a message arrives, its conversation moves to the top of both lists.
//!
//! A batch of records is [planned](planner) without I/O, its [effect](effect) is made durable, and only then the
//! [checkpoint](checkpoint) moves: a crash at any point repeats work and loses none, and repeated work changes nothing.

pub mod checkpoint;
pub mod dynamodb;
pub mod effect;
pub mod planner;
pub mod source;
mod worker;

pub use self::worker::Consumer;
