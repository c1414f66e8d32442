//! Waits between tries, which double from the first to the longest.

use std::time::Duration;

use crate::environment::Environment;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The waits of one call that is tried again and again.
#[derive(Clone, Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl Backoff {
    /// How long to wait now.
    pub fn next(&mut self, environment: &dyn Environment) -> Duration {
        let wait = environment.jitter(self.0);
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        wait
    }
}
