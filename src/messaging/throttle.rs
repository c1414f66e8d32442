//! The rate limit of messages: a token bucket for each user and process.
//!
//! A bucket has the tokens of one minute and refills evenly, so a short burst is allowed, and a continuous flood is not.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::model::UserUuid;

/// Maximum number of buckets. A user without a bucket gets a full one.
const MAX_BUCKETS: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The buckets of all users.
pub struct Throttle {
    per_minute: u32,
    buckets: Cache<UserUuid, Arc<Mutex<Bucket>>>,
}

struct Bucket {
    /// Number of messages that the user may send now.
    messages: f64,
    /// Time of the last refill.
    refilled: Instant,
}

impl Throttle {
    /// Allows each user `per_minute` messages per minute; 0 means no limit.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Cache::new(MAX_BUCKETS) }
    }

    /// Counts a message of a user at the time `now`.
    ///
    /// # Errors
    /// The user has reached the limit. The error is the time until the user may send the next message.
    pub fn take(&self, user: UserUuid, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let capacity = f64::from(self.per_minute);
        let full = || Ok::<_, Infallible>(Arc::new(Mutex::new(Bucket { messages: capacity, refilled: now })));
        let Ok(bucket) = self.buckets.get_or_insert_with(&user, full);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let refill = now.saturating_duration_since(bucket.refilled).as_secs_f64() * capacity / MINUTE.as_secs_f64();
        bucket.messages = (bucket.messages + refill).min(capacity);
        bucket.refilled = now;
        if bucket.messages >= 1.0 {
            bucket.messages -= 1.0;
            return Ok(());
        }
        Err(MINUTE.mul_f64((1.0 - bucket.messages) / capacity))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let throttle = Throttle::new(6);
        let start = Instant::now();
        let [ana, ben] = [1, 2].map(|number| UserUuid(Uuid::from_u128(number)));
        for _ in 0..6 {
            assert_eq!(throttle.take(ana, start), Ok(()));
        }
        let wait = throttle.take(ana, start).expect_err("an empty bucket");
        assert!(wait > Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(throttle.take(ben, start), Ok(()), "each user has a bucket");
        let later = start + wait + Duration::from_millis(1);
        assert_eq!(throttle.take(ana, later), Ok(()));
        assert!(throttle.take(ana, later).is_err());
        let hour = later + Duration::from_secs(3600);
        assert_eq!(
            (0..10).filter(|_| throttle.take(ana, hour).is_ok()).count(),
            6,
            "a bucket holds one minute's messages"
        );
        assert_eq!(Throttle::new(0).take(ana, start), Ok(()));
    }
}
