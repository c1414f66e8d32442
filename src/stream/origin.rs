//! The shard from which messages are read. The rows of a group store, for each shard, which messages were fed (appended to
//! the feeds of both participants).
//!
//! A row contains the last fed position of each unfinished shard. If the shard of a message is not among them, there are two
//! cases: no message of this shard was fed, or the shard is finished. In the second case, this process has lost its
//! lease and does not know it. So the consumer reads the lease before it feeds the first message of a shard to a group.
//! The order is important: it reads the rows before the lease, and the transaction is conditional on the rows. If
//! another process finishes the shard after the lease was read, it changes the rows, and the transaction fails.

use std::collections::HashSet;
use std::sync::Mutex;

use async_trait::async_trait;
use uuid::Uuid;

use super::ids::{ShardId, StreamArn};
use super::lease::{HeldLease, Lease, LeaseTable};
use crate::messages_table::TableError;

/// The shard from which messages come.
#[async_trait]
pub trait Origin: Send + Sync {
    /// Returns the name of the stream and the shard in [`Fed`](crate::messages_table::Fed).
    fn name(&self) -> &str;

    /// Whether this process still holds the lease of the shard.
    async fn is_held(&self) -> Result<bool, TableError>;

    /// Whether the shard `name` is finished, so that the stream delivers none of its messages again.
    async fn is_finished(&self, name: &str) -> Result<bool, TableError>;
}

/// A shard whose lease this process has acquired.
pub struct LeasedShard<'a, T> {
    table: &'a T,
    stream: &'a StreamArn,
    lease: &'a HeldLease,
    name: String,
    /// Names of finished shards. A finished shard stays finished, so its lease is read once.
    finished: Mutex<HashSet<String>>,
}

impl<'a, T: LeaseTable> LeasedShard<'a, T> {
    /// The shard of `lease`.
    pub fn new(table: &'a T, stream: &'a StreamArn, lease: &'a HeldLease) -> Self {
        Self { table, stream, lease, name: shard_name(stream, &lease.shard), finished: Mutex::default() }
    }
}

#[async_trait]
impl<T: LeaseTable> Origin for LeasedShard<'_, T> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn is_held(&self) -> Result<bool, TableError> {
        let HeldLease { shard, owner, epoch } = self.lease;
        let is_ours =
            |lease: &Lease| lease.owner.as_ref() == Some(owner) && lease.epoch == *epoch && !lease.is_finished();
        let lease = self.table.get(self.stream, shard).await?;
        Ok(lease.is_some_and(|lease| is_ours(&lease)) && self.table.last_stream().await?.as_ref() == Some(self.stream))
    }

    async fn is_finished(&self, name: &str) -> Result<bool, TableError> {
        let shard = name.strip_prefix(&stream_prefix(self.stream)).map(ShardId::from);
        // This is a shard of an older stream. Its lease is not read, because `is_held` is false for every process that
        // reads the shard.
        let Some(shard) = shard else { return Ok(true) };
        if self.finished.lock().is_ok_and(|finished| finished.contains(name)) {
            return Ok(true);
        }
        // The lease of a finished shard is removed when the stream does not list the shard any more.
        let is_finished = self.table.get(self.stream, &shard).await?.is_none_or(|lease| lease.is_finished());
        if is_finished && let Ok(mut finished) = self.finished.lock() {
            finished.insert(name.to_owned());
        }
        Ok(is_finished)
    }
}

/// The name of a shard in rows: short, without spaces, and different in each stream.
pub fn shard_name(stream: &StreamArn, shard: &ShardId) -> String {
    stream_prefix(stream) + &shard.replace(char::is_whitespace, "_")
}

fn stream_prefix(stream: &StreamArn) -> String {
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, stream.as_bytes()).simple().to_string();
    hash.chars().take(8).chain(['/']).collect()
}
