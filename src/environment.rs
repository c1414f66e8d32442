//! Time and randomness, handed in so that tests can say what they are.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
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

/// Chance for waits, so that many processes do not do the same thing at the same moment.
#[derive(Debug)]
pub struct Chance(Mutex<SmallRng>);

impl Chance {
    /// Unpredictable.
    pub fn new() -> Self {
        Self::seeded(rand::random())
    }

    /// The same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// Something between half of `around` and half as much again.
    pub fn jitter(&self, around: Duration) -> Duration {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        around.mul_f64(random.random_range(0.5..1.5))
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
