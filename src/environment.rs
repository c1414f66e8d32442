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
        random_uuid()
    }
}

/// A random uuid, RFC 9562 version 4, from the thread's generator: asking the kernel for each takes a call of its own.
pub fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
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
