//! Leases: which process reads which shard, and how far it has come.
//!
//! A lease is taken and renewed by conditional writes on numbers in its row. `counter` rises with every write: a holder
//! is dead when its counter stands still, judged by whoever watches on a monotonic clock of their own, so that wall clocks
//! of two machines are never compared. `epoch` rises with every change of hands: a holder writes only under the epoch in
//! which it took the lease, so that a process that was paused and comes back writes nothing. `step` rises with every
//! checkpoint of one holder, so that an older call that arrives late takes none back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::source::{Shard, ShardId};
use crate::messages_table::TableError;

/// How long a holder may be silent before others take its lease.
pub const LEASE_TIME: Duration = Duration::from_secs(10);

/// How far a shard has been consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Anew from the oldest record there is, after a gap was made up for.
    TrimHorizon,
    /// Likewise, and the gap before it is still to be made up for.
    BehindGap,
    /// Up to and with the record of this sequence number.
    At(String),
    /// To its end.
    ShardEnd,
}

/// A shard's row in the consumer's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// The shard it continues.
    pub parent: Option<ShardId>,
    /// The process that reads it; none when it was handed over or never taken.
    pub owner: Option<String>,
    /// Rises with every change of hands.
    pub epoch: u64,
    /// Rises with every write.
    pub counter: u64,
    /// Rises with every checkpoint of one holder.
    pub step: u64,
    /// How far it has been consumed; not at all when there is none.
    pub checkpoint: Option<Checkpoint>,
    /// The shard's records are younger, in milliseconds since 1970: when the row was made, or until when the shard's parent
    /// was handled then. A shard that is begun only when its oldest records may be trimmed has a gap that no error tells of.
    pub created_at: Option<i64>,
    /// Until when everything is handled, in milliseconds since 1970: when the last record that was handled came into the
    /// stream, or the time of the repair of a gap or of a reading that found nothing more.
    pub handled_until: Option<i64>,
}

impl Lease {
    /// Whether the shard is consumed to its end.
    pub fn is_finished(&self) -> bool {
        self.checkpoint == Some(Checkpoint::ShardEnd)
    }

    /// Since when a reading from the oldest record on loses none, in milliseconds since 1970.
    pub fn complete_since(&self) -> Option<i64> {
        self.handled_until.max(self.created_at)
    }
}

/// What must hold for a write to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nobody has written since this counter was read.
    CounterIs(u64),
    /// This process holds it, since this epoch.
    HeldSince {
        /// The process.
        owner: String,
        /// The epoch.
        epoch: u64,
    },
}

/// What a write to a lease changes, beside raising its counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It changes hands.
    Take {
        /// Whose it is now.
        owner: String,
        /// The epoch that begins.
        epoch: u64,
    },
    /// Its holder lives.
    Renew,
    /// Its holder has come so far, unless it came further since.
    Advance {
        /// Which one of the holder's checkpoints this is: a call that was given up for lost may still arrive, after a later
        /// one.
        step: u64,
        /// So far.
        checkpoint: Checkpoint,
        /// Until when everything is handled now; where nothing is known, it stays as it was.
        handled_until: Option<i64>,
    },
    /// Its holder gives it up.
    Release,
}

/// The lease of a shard that had none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// The shard.
    pub shard: Shard,
    /// See [`Lease::created_at`].
    pub created_at: i64,
    /// Whether what came before it was never seen.
    pub is_behind_gap: bool,
}

/// The rows of leases: DynamoDB, or a simulation of it.
pub trait LeaseTable: Send + Sync + 'static {
    /// All leases of a stream.
    fn list(&self, stream: &str) -> impl Future<Output = Result<Vec<Lease>, TableError>> + Send;
    /// One lease, strongly consistent.
    fn get(&self, stream: &str, shard: &str) -> impl Future<Output = Result<Option<Lease>, TableError>> + Send;
    /// Puts a lease, which is nobody's, unless the shard has one.
    fn create(&self, stream: &str, new: &NewLease) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Writes to a lease if `condition` holds; whether it did.
    fn write(
        &self,
        stream: &str,
        shard: &str,
        condition: &Condition,
        change: &Change,
    ) -> impl Future<Output = Result<bool, TableError>> + Send;
    /// The stream that was consumed last; strongly consistent.
    fn last_stream(&self) -> impl Future<Output = Result<Option<String>, TableError>> + Send;
    /// Notes that `stream` is consumed now.
    fn note_stream(&self, stream: &str) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Removes the lease of a shard that is no more.
    fn remove(&self, stream: &str, shard: &str) -> impl Future<Output = Result<(), TableError>> + Send;
}

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The shard.
    pub shard: ShardId,
    /// Under which name.
    pub owner: String,
    /// Since when.
    pub epoch: u64,
}

impl Held {
    fn condition(&self) -> Condition {
        Condition::HeldSince { owner: self.owner.clone(), epoch: self.epoch }
    }

    /// Writes under the lease; `false` when it is somebody else's by now. Writing twice because an answer was lost is
    /// the same as writing once.
    pub async fn write<T: LeaseTable>(&self, table: &T, stream: &str, change: &Change) -> Result<bool, TableError> {
        table.write(stream, &self.shard, &self.condition(), change).await
    }
}

/// Takes a lease as it was seen; `None` when somebody else was faster.
pub async fn take<T: LeaseTable>(
    table: &T,
    stream: &str,
    seen: &Lease,
    owner: &str,
) -> Result<Option<Held>, TableError> {
    let epoch = seen.epoch + 1;
    let change = Change::Take { owner: owner.to_owned(), epoch };
    let held = Held { shard: seen.shard.clone(), owner: owner.to_owned(), epoch };
    if table.write(stream, &seen.shard, &Condition::CounterIs(seen.counter), &change).await? {
        return Ok(Some(held));
    }
    // The condition may have failed on our own write, whose answer was lost.
    let now = table.get(stream, &seen.shard).await?;
    Ok(now.filter(|now| now.owner.as_deref() == Some(owner) && now.epoch == epoch).map(|_| held))
}

/// Watches the counters of leases on this process's clock.
#[derive(Debug, Default)]
pub struct Watch {
    seen: HashMap<ShardId, (u64, Instant)>,
}

impl Watch {
    /// Notes what the counters are now.
    pub fn observe(&mut self, leases: &[Lease], now: Instant) {
        let shards: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
        self.seen.retain(|shard, _| shards.contains(shard));
        for lease in leases {
            let seen = self.seen.entry(lease.shard.clone()).or_insert((lease.counter, now));
            if seen.0 != lease.counter {
                *seen = (lease.counter, now);
            }
        }
    }

    /// Whether the holder of a lease has been silent for too long.
    pub fn is_expired(&self, lease: &Lease, now: Instant) -> bool {
        self.seen
            .get(&lease.shard)
            .is_some_and(|(counter, since)| *counter == lease.counter && now.duration_since(*since) > LEASE_TIME)
    }
}

/// The leases whose shards may be read: not finished, and their parents are. A parent without a lease is not listed any
/// more, or it would have one; it counts as finished.
pub fn open_leases(leases: &[Lease]) -> Vec<&Lease> {
    let unfinished: HashSet<&ShardId> =
        leases.iter().filter(|lease| !lease.is_finished()).map(|lease| &lease.shard).collect();
    let is_open = |lease: &&Lease| {
        !lease.is_finished() && lease.parent.as_ref().is_none_or(|parent| !unfinished.contains(parent))
    };
    leases.iter().filter(is_open).collect()
}

/// Which leases `me`, who reads `reading` now, should take so that all living processes have about as many: those of
/// nobody and of the dead first, and otherwise one from whoever has most.
pub fn leases_to_take<'a>(
    leases: &'a [Lease],
    watch: &Watch,
    now: Instant,
    me: &str,
    reading: &HashSet<ShardId>,
) -> Vec<&'a Lease> {
    let open = open_leases(leases);
    // What we read is ours, whatever the list says: it may show a moment before we took it.
    let (mine, others): (Vec<&Lease>, Vec<&Lease>) =
        open.iter().copied().partition(|lease| reading.contains(&lease.shard));
    let living = |lease: &Lease| {
        let owner = lease.owner.as_deref().filter(|owner| *owner != me);
        owner.filter(|_| !watch.is_expired(lease, now)).map(str::to_owned)
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
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
    others.into_iter().filter(|lease| lease.owner.as_deref() == Some(richest.as_str())).take(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(shard: &str, parent: Option<&str>, owner: Option<&str>) -> Lease {
        Lease {
            shard: shard.into(),
            parent: parent.map(str::to_owned),
            owner: owner.map(str::to_owned),
            epoch: 1,
            counter: 1,
            step: 0,
            checkpoint: None,
            created_at: None,
            handled_until: None,
        }
    }

    fn shards(leases: &[&Lease]) -> Vec<String> {
        leases.iter().map(|lease| lease.shard.clone()).collect()
    }

    #[test]
    fn children_wait_for_their_parents() {
        let mut leases = vec![lease("a", None, None), lease("b", Some("a"), None), lease("c", Some("gone"), None)];
        assert_eq!(shards(&open_leases(&leases)), ["a", "c"]);
        leases[0].checkpoint = Some(Checkpoint::ShardEnd);
        assert_eq!(shards(&open_leases(&leases)), ["b", "c"]);
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
        assert_eq!(leases_to_take(&all, &watch, now, "me", &none).len(), 4);
        let other: Vec<Lease> = ["a", "b", "c", "d"].map(|shard| lease(shard, None, Some("other"))).to_vec();
        assert_eq!(leases_to_take(&other, &watch, now, "me", &none).len(), 1, "one at a time");
        let mut half = other.clone();
        half[0].owner = Some("me".into());
        half[1].owner = Some("me".into());
        let mine: HashSet<ShardId> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(leases_to_take(&half, &watch, now, "me", &mine), Vec::<&Lease>::new());
        half[3].owner = None;
        assert_eq!(leases_to_take(&half, &watch, now, "me", &mine), Vec::<&Lease>::new(), "the other one's share");
        let one = vec![lease("a", None, Some("other"))];
        assert_eq!(leases_to_take(&one, &watch, now, "me", &none), Vec::<&Lease>::new(), "no use in swapping");
        // A list that lags shows another's name on what we read already.
        let lagging: Vec<Lease> = ["a", "b", "c", "d"].map(|shard| lease(shard, None, Some("other"))).to_vec();
        let reading: HashSet<ShardId> = ["a".to_owned()].into();
        assert_eq!(shards(&leases_to_take(&lagging, &watch, now, "me", &reading)), ["b"]);
        // A lease in our name that we do not read: its answer was lost, or an earlier life of ours took it.
        let mine = vec![lease("a", None, Some("me"))];
        assert_eq!(leases_to_take(&mine, &watch, now, "me", &none).len(), 1);
    }
}
