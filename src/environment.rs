//! Time and randomness, handed in so that tests can say what they are.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where the rules get the time and new uuids from.
pub trait Environment: Send + Sync {
    /// The wall clock.
    fn now(&self) -> DateTime<Utc>;
    /// A uuid that nobody else has drawn.
    fn new_uuid(&self) -> Uuid;
}

/// The machine's clock and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn new_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}
