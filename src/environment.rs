//! Time and randomness as an argument, so that tests control both.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The source of time, uuids and randomness.
pub trait Environment: Send + Sync {
    /// The wall clock.
    fn now(&self) -> DateTime<Utc>;

    /// A new random uuid.
    fn new_uuid(&self) -> Uuid;

    /// A random number, at least 0 and less than 1.
    fn random(&self) -> f64;

    /// The monotonic clock. It is tokio's, so a test that pauses tokio's clock controls this one too.
    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// A random wait between half of `wait` and one and a half times `wait`: jitter keeps processes from retrying at the
    /// same moment.
    fn jitter(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.5 + self.random())
    }
}

/// The clock and the random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn new_uuid(&self) -> Uuid {
        random_uuid()
    }

    fn random(&self) -> f64 {
        rand::random()
    }
}

/// A random uuid (RFC 9562, version 4). It comes from the generator of the thread, because asking the kernel costs a system
/// call for each uuid.
pub fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}
