//! Leases: which process reads which shard, and how far it has read.
//!
//! A lease is taken and renewed by writes that are conditional on numbers in its row:
//! - `counter` increases with each write. If the counter does not change for the lease time, the holder counts as dead. Each
//!   process measures this with its own monotonic clock, so the wall clocks of two machines are never compared.
//! - `epoch` increases with each change of the holder. A holder writes only under the epoch in which it took the lease, so a
//!   process that was paused and has lost the lease writes nothing.
//! - `step` increases with each checkpoint of one holder, so a write that arrives late does not replace a later checkpoint.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::ids::{LeaseOwner, SequenceNumber, ShardId, StreamArn};
use super::source::Shard;
use crate::messages_table::TableError;

/// Time without a write of its holder after which other processes take a lease.
pub const LEASE_TIME: Duration = Duration::from_secs(10);

/// How far a shard has been consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Reading starts at the oldest record of the shard. Its [repair](super::repair) was requested, if there was a gap.
    TrimHorizon,
    /// Reading starts at the oldest record of the shard. There is a gap before it, and its repair was not requested yet.
    BehindGap,
    /// The record with this sequence number and all before it are handled.
    At(SequenceNumber),
    /// The shard is finished.
    ShardEnd,
}

/// Which versions of the consumer can write the rows of a shard's groups. An earlier version, which writes no feeds, removes
/// the positions of fed messages from the rows. So this version reads no shard while an earlier version can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseVersion {
    /// An earlier version has created the lease, and can hold it or take it.
    WithoutFeed,
    /// A process of this version has taken the lease. The former holder, of an earlier version, may not have noticed it yet.
    Upgrading,
    /// Only this version can write.
    WithFeed,
}

/// A shard's row in the consumer's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// The shard that this shard continues.
    pub parent: Option<ShardId>,
    /// The process that reads the shard. `None` if the last holder has released the lease or no process has taken it.
    pub owner: Option<LeaseOwner>,
    /// Increases with each change of the holder.
    pub epoch: u64,
    /// Which versions of the consumer can write the rows of its groups.
    pub version: LeaseVersion,
    /// Increases with each write.
    pub counter: u64,
    /// Increases with each checkpoint of one holder.
    pub step: u64,
    /// How far the shard has been consumed. `None` if no process has written a checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// All records of the shard are younger than this time, in milliseconds since 1970. It is the time at which the lease was
    /// created, or the time until which the parent was handled then. If reading starts so late that records of this age may have
    /// been trimmed, there may be a gap, which no error of the stream shows.
    pub created_at: Option<i64>,
    /// All records until this time are handled, in milliseconds since 1970. It is the time of the last handled record, or for a
    /// finished shard the time at which it was last seen open, if that is later. After a gap, it is the time at which the gap was
    /// found; a repair covers older records.
    pub handled_until: Option<i64>,
}

impl Lease {
    /// Whether the shard is finished.
    pub fn is_finished(&self) -> bool {
        self.checkpoint == Some(Checkpoint::ShardEnd)
    }

    /// Returns the time until which all records are handled or never existed, in milliseconds since 1970. Only records that are
    /// younger than this time can be lost.
    pub fn complete_since(&self) -> Option<i64> {
        self.handled_until.max(self.created_at)
    }
}

/// The condition of a write to a lease or to the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The counter has this value: no process has written since it was read.
    CounterIs(u64),
    /// This process took the lease in this epoch, and no process has taken it after that.
    HeldSince {
        /// The process.
        owner: LeaseOwner,
        /// The epoch.
        epoch: u64,
    },
}

/// What a write to a lease changes. Each write also increments the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseUpdate {
    /// A process takes the lease.
    Take {
        /// The new holder.
        owner: LeaseOwner,
        /// The new epoch.
        epoch: u64,
        /// Whether an earlier version has written the lease.
        is_upgrade: bool,
    },
    /// The former holder, a process of an earlier version, has stopped.
    FinishUpgrade,
    /// The holder renews the lease.
    Renew,
    /// The holder writes a checkpoint, unless it has written a later one.
    Advance {
        /// Number of the checkpoint. A write that timed out can still arrive after a later one.
        step: u64,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// See [`Lease::handled_until`]. `None` keeps the old value.
        handled_until: Option<i64>,
    },
    /// The holder releases the lease.
    Release,
}

/// A lease for a shard that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// The shard.
    pub shard: Shard,
    /// See [`Lease::created_at`].
    pub created_at: i64,
    /// Whether records before the oldest record of the shard were lost.
    pub is_behind_gap: bool,
}

/// Storage of leases. Implemented with DynamoDB, and by the simulator of the tests.
pub trait LeaseTable: Send + Sync + 'static {
    /// Returns all leases of a stream. If `consistent` is false, the result can lag.
    fn list(&self, stream: &StreamArn, consistent: bool)
    -> impl Future<Output = Result<Vec<Lease>, TableError>> + Send;
    /// Reads one lease with strong consistency.
    fn get(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
    ) -> impl Future<Output = Result<Option<Lease>, TableError>> + Send;
    /// Creates a lease without a holder, unless the shard has a lease.
    fn create(&self, stream: &StreamArn, new: &NewLease) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Writes to a lease if `condition` holds. Returns whether the condition held.
    fn write(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        condition: &Condition,
        update: &LeaseUpdate,
    ) -> impl Future<Output = Result<bool, TableError>> + Send;
    /// Reads, with strong consistency, which stream was consumed last.
    fn last_stream(&self) -> impl Future<Output = Result<Option<StreamArn>, TableError>> + Send;
    /// Stores that `stream` is consumed now.
    fn note_stream(&self, stream: &StreamArn) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Removes the lease of a shard that is not listed any more.
    fn remove(&self, stream: &StreamArn, shard: &ShardId) -> impl Future<Output = Result<(), TableError>> + Send;
}

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The shard.
    pub shard: ShardId,
    /// This process.
    pub owner: LeaseOwner,
    /// The epoch in which it took the lease.
    pub epoch: u64,
}

impl HeldLease {
    fn condition(&self) -> Condition {
        Condition::HeldSince { owner: self.owner.clone(), epoch: self.epoch }
    }

    /// Writes under the lease. Returns `false` if another process has the lease. Repeating a write whose response was lost has no
    /// further effect.
    pub async fn write<T: LeaseTable>(
        &self,
        table: &T,
        stream: &StreamArn,
        update: &LeaseUpdate,
    ) -> Result<bool, TableError> {
        table.write(stream, &self.shard, &self.condition(), update).await
    }
}

/// Takes a lease that was read as `seen`. Returns `None` if another process was faster.
pub async fn take<T: LeaseTable>(
    table: &T,
    stream: &StreamArn,
    seen: &Lease,
    owner: &LeaseOwner,
) -> Result<Option<HeldLease>, TableError> {
    let epoch = seen.epoch + 1;
    let is_upgrade = seen.version == LeaseVersion::WithoutFeed;
    let update = LeaseUpdate::Take { owner: owner.clone(), epoch, is_upgrade };
    let held = HeldLease { shard: seen.shard.clone(), owner: owner.clone(), epoch };
    if table.write(stream, &seen.shard, &Condition::CounterIs(seen.counter), &update).await? {
        return Ok(Some(held));
    }
    // The condition can fail because of our own write, whose response was lost.
    let now = table.get(stream, &seen.shard).await?;
    Ok(now.filter(|now| now.owner.as_ref() == Some(owner) && now.epoch == epoch).map(|_| held))
}

/// Measures, with the clock of this process, how long the counter of a lease has not changed.
#[derive(Clone, Copy, Debug)]
pub struct CounterWatch {
    counter: u64,
    since: Instant,
}

impl CounterWatch {
    /// Starts the measurement for a counter with this value.
    pub fn new(counter: u64, now: Instant) -> Self {
        Self { counter, since: now }
    }

    /// Records the current value of the counter.
    pub fn observe(&mut self, counter: u64, now: Instant) {
        if self.counter != counter {
            *self = Self::new(counter, now);
        }
    }

    /// Whether the holder of the lease, whose counter is `counter`, has not written for more than [`LEASE_TIME`].
    pub fn is_expired(&self, counter: u64, now: Instant) -> bool {
        self.counter == counter && now.duration_since(self.since) > LEASE_TIME
    }
}

/// Measures how long the counters of the leases have not changed.
#[derive(Debug, Default)]
pub struct Watch {
    seen: HashMap<ShardId, CounterWatch>,
}

impl Watch {
    /// Records the current values of the counters.
    pub fn observe(&mut self, leases: &[Lease], now: Instant) {
        let shards: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
        self.seen.retain(|shard, _| shards.contains(shard));
        for lease in leases {
            let new = CounterWatch::new(lease.counter, now);
            self.seen.entry(lease.shard.clone()).or_insert(new).observe(lease.counter, now);
        }
    }

    /// Whether the holder of a lease has not written for more than [`LEASE_TIME`].
    pub fn is_expired(&self, lease: &Lease, now: Instant) -> bool {
        self.seen.get(&lease.shard).is_some_and(|seen| seen.is_expired(lease.counter, now))
    }
}

/// Returns the leases whose shards may be read: they are not finished, and their parents are. A parent without a lease is no
/// longer listed, so it counts as finished.
pub fn open_leases(leases: &[Lease]) -> Vec<&Lease> {
    let unfinished: HashSet<&ShardId> =
        leases.iter().filter(|lease| !lease.is_finished()).map(|lease| &lease.shard).collect();
    let is_open = |lease: &&Lease| {
        !lease.is_finished() && lease.parent.as_ref().is_none_or(|parent| !unfinished.contains(parent))
    };
    leases.iter().filter(is_open).collect()
}

/// Whether no process of an earlier version can read a shard. Finished leases are checked too, because an earlier version can
/// take the lease of a shard whose parent it sees as finished.
pub fn is_upgraded(leases: &[Lease]) -> bool {
    let finished = leases.iter().filter(|lease| lease.is_finished());
    finished.chain(open_leases(leases)).all(|lease| lease.version == LeaseVersion::WithFeed)
}

/// Returns the leases that the process `me`, which reads the shards `reading`, should take. If there are leases of an earlier
/// version, returns all of them, because that version removes the positions of fed messages from the rows. Otherwise, all
/// living processes get about the same number of leases: `me` takes leases without a holder and leases of dead processes, up
/// to its share. If there are none, it takes one lease of the process that has the most.
pub fn leases_to_take<'a>(
    leases: &'a [Lease],
    watch: &Watch,
    now: Instant,
    me: &LeaseOwner,
    reading: &HashSet<ShardId>,
) -> Vec<&'a Lease> {
    let open = open_leases(leases);
    // This process holds the leases of the shards that it reads, even if a list that lags contains other holders.
    let (mine, others): (Vec<&Lease>, Vec<&Lease>) =
        open.iter().copied().partition(|lease| reading.contains(&lease.shard));
    let finished = leases.iter().filter(|lease| lease.is_finished() && !reading.contains(&lease.shard));
    let without_feed: Vec<&Lease> =
        others.iter().copied().chain(finished).filter(|lease| lease.version == LeaseVersion::WithoutFeed).collect();
    if !without_feed.is_empty() {
        return without_feed;
    }
    let living = |lease: &Lease| {
        let owner = lease.owner.as_ref().filter(|owner| *owner != me);
        owner.filter(|_| !watch.is_expired(lease, now)).cloned()
    };
    let mut counts: BTreeMap<LeaseOwner, usize> = BTreeMap::new();
    for owner in others.iter().filter_map(|lease| living(lease)) {
        *counts.entry(owner).or_default() += 1;
    }
    let fair = open.len().div_ceil(counts.len() + 1);
    let wanted = fair.saturating_sub(mine.len());
    let free: Vec<&Lease> = others.iter().copied().filter(|lease| living(lease).is_none()).take(wanted).collect();
    if !free.is_empty() || wanted == 0 {
        return free;
    }
    let richest = counts.into_iter().filter(|(_, count)| *count > mine.len() + 1).max_by_key(|(_, count)| *count);
    let Some((richest, _)) = richest else { return Vec::new() };
    others.into_iter().filter(|lease| lease.owner.as_ref() == Some(&richest)).take(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(shard: &str, parent: Option<&str>, owner: Option<&str>) -> Lease {
        Lease {
            shard: shard.into(),
            parent: parent.map(ShardId::from),
            owner: owner.map(LeaseOwner::from),
            epoch: 1,
            version: LeaseVersion::WithFeed,
            counter: 1,
            step: 0,
            checkpoint: None,
            created_at: None,
            handled_until: None,
        }
    }

    fn shards(leases: &[&Lease]) -> Vec<String> {
        leases.iter().map(|lease| lease.shard.to_string()).collect()
    }

    #[test]
    fn children_wait_for_their_parents() {
        let mut leases = vec![lease("a", None, None), lease("b", Some("a"), None), lease("c", Some("gone"), None)];
        assert_eq!(shards(&open_leases(&leases)), ["a", "c"]);
        leases[0].checkpoint = Some(Checkpoint::ShardEnd);
        assert_eq!(shards(&open_leases(&leases)), ["b", "c"]);
    }

    #[test]
    fn leases_of_a_version_without_feeds_are_taken_first_and_all() {
        let mut leases = vec![
            lease("a", None, Some("old")),
            lease("b", None, Some("old")),
            lease("c", Some("b"), None),
            lease("d", None, None),
        ];
        leases[..3].iter_mut().for_each(|lease| lease.version = LeaseVersion::WithoutFeed);
        let taken = leases_to_take(&leases, &Watch::default(), Instant::now(), &"me".into(), &HashSet::new());
        assert_eq!(shards(&taken), ["a", "b"]);
        // A list that lags contains an old lease of a shard that this process already reads.
        let reading: HashSet<ShardId> = ["a".into()].into();
        let taken = leases_to_take(&leases, &Watch::default(), Instant::now(), &"me".into(), &reading);
        assert_eq!(shards(&taken), ["b"]);
        // The earlier version could take a child of a finished shard.
        leases[0].checkpoint = Some(Checkpoint::ShardEnd);
        let taken = leases_to_take(&leases, &Watch::default(), Instant::now(), &"me".into(), &HashSet::new());
        assert_eq!(shards(&taken), ["b", "a"]);
        leases[0].version = LeaseVersion::WithFeed;
        assert!(!is_upgraded(&leases));
        leases[1].version = LeaseVersion::WithFeed;
        assert!(is_upgraded(&leases), "the child of an unfinished shard cannot be taken");
    }

    #[test]
    fn a_holder_is_dead_when_its_counter_stands_still() {
        let mut watch = Watch::default();
        let (begin, mut leases) = (Instant::now(), vec![lease("a", None, Some("other"))]);
        watch.observe(&leases, begin);
        let almost = begin + LEASE_TIME;
        assert!(!watch.is_expired(&leases[0], almost));
        leases[0].counter += 1;
        watch.observe(&leases, almost);
        assert!(!watch.is_expired(&leases[0], almost + LEASE_TIME));
        assert!(watch.is_expired(&leases[0], almost + LEASE_TIME + Duration::from_millis(1)));
    }

    #[test]
    fn leases_are_shared_fairly() {
        let (now, watch) = (Instant::now(), Watch::default());
        let none = HashSet::new();
        let all: Vec<Lease> = ["a", "b", "c", "d"].map(|shard| lease(shard, None, None)).to_vec();
        assert_eq!(leases_to_take(&all, &watch, now, &"me".into(), &none).len(), 4);
        let other: Vec<Lease> = ["a", "b", "c", "d"].map(|shard| lease(shard, None, Some("other"))).to_vec();
        assert_eq!(leases_to_take(&other, &watch, now, &"me".into(), &none).len(), 1, "one at a time");
        let mut half = other.clone();
        half[0].owner = Some("me".into());
        half[1].owner = Some("me".into());
        let mine: HashSet<ShardId> = ["a".into(), "b".into()].into();
        assert_eq!(leases_to_take(&half, &watch, now, &"me".into(), &mine), Vec::<&Lease>::new());
        half[3].owner = None;
        assert_eq!(
            leases_to_take(&half, &watch, now, &"me".into(), &mine),
            Vec::<&Lease>::new(),
            "the other one's share"
        );
        let one = vec![lease("a", None, Some("other"))];
        assert_eq!(
            leases_to_take(&one, &watch, now, &"me".into(), &none),
            Vec::<&Lease>::new(),
            "a swap would not help"
        );
        // A list that lags contains another holder of a shard that this process reads.
        let lagging: Vec<Lease> = ["a", "b", "c", "d"].map(|shard| lease(shard, None, Some("other"))).to_vec();
        let reading: HashSet<ShardId> = ["a".into()].into();
        assert_eq!(shards(&leases_to_take(&lagging, &watch, now, &"me".into(), &reading)), ["b"]);
        // This process holds a lease whose shard it does not read: a response was lost, or it took the lease before a restart.
        let mine = vec![lease("a", None, Some("me"))];
        assert_eq!(leases_to_take(&mine, &watch, now, &"me".into(), &none).len(), 1);
    }
}
