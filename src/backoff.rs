//! Waits between retries.

use std::time::Duration;

use crate::environment::Environment;

/// Exponential backoff: each wait is twice as long as the one before, up to a maximum, with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    maximum: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits of about `first`, twice `first`, …, `maximum`, `maximum`, ….
    pub const fn new(first: Duration, maximum: Duration) -> Self {
        Self { first, maximum, next: first }
    }

    /// The next wait: between half of its length and one and a half times its length.
    pub fn next(&mut self, environment: &dyn Environment) -> Duration {
        let wait = environment.jitter(self.next);
        self.next = (self.next * 2).min(self.maximum);
        wait
    }

    /// Starts again with the first wait.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
