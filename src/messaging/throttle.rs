//! How many messages a user may send in a minute, in this process: a bucket that fills evenly, so that a burst is borne
//! and a flood is not.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::model::UserUuid;

/// How many users' buckets are kept; one that is forgotten is full again.
const REMEMBERED: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The buckets of all users.
pub struct Throttle {
    per_minute: u32,
    buckets: Cache<UserUuid, Arc<Mutex<Bucket>>>,
}

struct Bucket {
    messages: f64,
    at: Instant,
}

impl Throttle {
    /// So many messages a minute; as many as anybody likes when it is 0.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Cache::new(REMEMBERED) }
    }

    /// Takes one message out of the user's bucket, or tells how long until there is one.
    pub fn take(&self, user: UserUuid) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let (most, now) = (f64::from(self.per_minute), Instant::now());
        let full = || Ok::<_, Infallible>(Arc::new(Mutex::new(Bucket { messages: most, at: now })));
        let Ok(bucket) = self.buckets.get_or_insert_with(&user, full);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * most / MINUTE.as_secs_f64();
        bucket.messages = (bucket.messages + filled).min(most);
        bucket.at = now;
        if bucket.messages >= 1.0 {
            bucket.messages -= 1.0;
            return Ok(());
        }
        Err(MINUTE.mul_f64((1.0 - bucket.messages) / most))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_borne_and_a_flood_is_not() {
        let throttle = Throttle::new(6);
        let [ana, ben] = [1, 2].map(|number| UserUuid(Uuid::from_u128(number)));
        for _ in 0..6 {
            assert_eq!(throttle.take(ana), Ok(()));
        }
        let wait = throttle.take(ana).expect_err("an empty bucket");
        assert!(wait > Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(throttle.take(ben), Ok(()), "each has their own");
        tokio::time::advance(wait + Duration::from_millis(1)).await;
        assert_eq!(throttle.take(ana), Ok(()));
        assert!(throttle.take(ana).is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..10).filter(|_| throttle.take(ana).is_ok()).count(), 6, "no more than a minute's are saved up");
        assert_eq!(Throttle::new(0).take(ana), Ok(()));
    }
}
