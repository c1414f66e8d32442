//! Caches what a process has read about legacy groups: whether all of them are adopted, and the legacy rows in the
//! lists of users.
//!
//! A legacy row is replaced only after its group was adopted. The pair item then exists, and callers read it before they use
//! a list. So a cached list stays correct, unless the legacy system still writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::TableError;
use crate::metrics::{Limit, limit_reached};
use crate::model::{MessageGroupUuid, UserUuid};

/// Lifetime of a cached list, and of the result that the marker is missing. After a process has found the marker, it
/// never reads the marker again.
const LIFETIME: Duration = Duration::from_secs(60);
/// Maximum size of all lists in bytes.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;
/// Estimated size in bytes of a list without its groups.
const BASE_WEIGHT: u64 = 128;
/// Estimated number of entries. It is small, so that the cache is not divided into shards: the part of the maximum size that
/// each shard gets would be too small for a long list.
const ESTIMATED_LISTS: usize = 32;

/// The legacy rows in the list of one user: for each row, the other participant and the group. In ascending order.
pub type LegacyGroups = Vec<(UserUuid, MessageGroupUuid)>;

/// A list, and the time at which it was read. The groups are `None` if reading them takes more than the maximum number of
/// read units.
type Read = (Instant, Option<Arc<LegacyGroups>>);

/// The cache of one process.
#[derive(Debug)]
pub struct LegacyCache {
    max_read_units: Option<u32>,
    is_adopted: AtomicBool,
    /// Time at which the marker was last read, if it was missing. Locked during a read, so that concurrent requests share the
    /// read.
    missing_at: Mutex<Option<Instant>>,
    lists: Cache<UserUuid, Read, Weight>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<UserUuid, Read> for Weight {
    fn weight(&self, _user: &UserUuid, (_, groups): &Read) -> u64 {
        BASE_WEIGHT + groups.as_ref().map_or(0, |groups| size_of_val(groups.as_slice()) as u64)
    }
}

impl LegacyCache {
    /// Creates an empty cache. Without `max_read_units`, lists of any length are read.
    pub fn new(max_read_units: Option<u32>) -> Self {
        Self {
            max_read_units,
            is_adopted: AtomicBool::new(false),
            missing_at: Mutex::new(None),
            lists: Cache::with_weighter(ESTIMATED_LISTS, CACHED_BYTES, Weight),
        }
    }

    /// Whether `units` read units for one list are the maximum.
    pub fn is_used_up(&self, units: f64) -> bool {
        self.max_read_units.is_some_and(|maximum| units >= f64::from(maximum))
    }

    /// Returns the error for a list of `user` that needs more read units.
    pub fn too_long(&self, user: UserUuid) -> TableError {
        limit_reached(Limit::LegacyReadUnits);
        TableError::ListTooLong { user, read_units: self.max_read_units.unwrap_or_default() }
    }

    /// Whether the marker exists. Calls `read`, which reads the marker, if the result is not cached.
    pub async fn is_adopted(&self, read: impl Future<Output = Result<bool, TableError>>) -> Result<bool, TableError> {
        if self.is_adopted.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let mut missing_at = self.missing_at.lock().await;
        let is_adopted = self.is_adopted.load(Ordering::Relaxed);
        if is_adopted || missing_at.is_some_and(|at| at.elapsed() < LIFETIME) {
            return Ok(is_adopted);
        }
        let is_adopted = read.await?;
        *missing_at = Some(Instant::now());
        self.is_adopted.store(is_adopted, Ordering::Relaxed);
        Ok(is_adopted)
    }

    /// Returns the legacy groups in the list of `user`. If they are not cached, calls `read`, which returns `None` if reading
    /// takes more than the maximum number of read units. Concurrent requests share one read.
    ///
    /// # Errors
    /// The read fails, or takes too many read units.
    pub async fn groups(
        &self,
        user: UserUuid,
        read: impl Future<Output = Result<Option<LegacyGroups>, TableError>>,
    ) -> Result<Arc<LegacyGroups>, TableError> {
        self.lists.remove_if(&user, |(read_at, _)| read_at.elapsed() >= LIFETIME);
        let read = async { Ok::<_, TableError>((Instant::now(), read.await?.map(Arc::new))) };
        let (_, groups) = self.lists.get_or_insert_async(&user, read).await?;
        groups.ok_or_else(|| self.too_long(user))
    }
}
