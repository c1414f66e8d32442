//! One process's part: it knows the shards, holds leases, and runs a [reader](super::reader) on each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::health::Health;
use super::lease::{Change, Held, LEASE_TIME, Lease, LeaseTable, NewLease, Watch, leases_to_take, take};
use super::reader::{Left, Reader};
use super::rows::GroupRows;
use super::set_aside::SetAsideTable;
use super::source::{Shard, ShardId, StreamError, StreamSource};
use crate::environment::Environment;
use crate::messages_table::TableError;
use crate::metrics::Count;
use crate::report;

/// How often the leases are looked at: what was handed over is taken within so long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the shards are listed while nothing else happens.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long DynamoDB Streams keeps records.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How often a lease is renewed, up to half as much more or less.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_TIME.as_millis() as u64 * 2 / 9);

/// The stream consumer of one process.
pub struct Consumer<S, T, R> {
    pub(super) source: S,
    pub(super) table: T,
    pub(super) rows: R,
    pub(super) environment: Arc<dyn Environment>,
    /// How long records are kept in the stream.
    pub(super) retention: Duration,
    pub(super) health: Arc<Health>,
    /// This process's name as a holder of leases; no other process ever has the same.
    name: String,
}

/// Why the leases could not be looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The stream and what is known of it.
struct View {
    stream: String,
    /// When the shards are to be listed again.
    listing_due: Instant,
    backoff: Backoff,
    watch: Watch,
}

impl<S: StreamSource, T: LeaseTable + SetAsideTable, R: GroupRows> Consumer<S, T, R> {
    /// Consumes `source`, which keeps records for [`RETENTION`], into `rows`, with leases and what is set aside in `table`.
    /// No other process may have the same `name` at the same time.
    pub fn new(source: S, table: T, rows: R, name: String, environment: Arc<dyn Environment>) -> Self {
        let (retention, health) = (RETENTION, Arc::default());
        Self { source, table, rows, environment, retention, health, name }
    }

    /// The same consumer of a source that keeps records for `retention`.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Whether it gets on.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Consumes until `stop`, and then finishes the batches at hand and hands the leases over.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut readers: JoinSet<(ShardId, Left)> = JoinSet::new();
        let mut reading: HashMap<ShardId, tokio::task::Id> = HashMap::new();
        let mut view = None;
        while !stop.is_cancelled() {
            match self.look(&mut view, &mut readers, &mut reading, &stop).await {
                Ok(()) => self.health.looked(),
                Err(error) => {
                    Count::Retries.add(1);
                    tracing::warn!(error = report(&error), "the shards could not be looked at");
                }
            }
            self.health.show();
            let pause = tokio::time::sleep(self.environment.jitter(LOOK_EVERY));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    Some(ended) = readers.join_next_with_id() => {
                        let id = match &ended {
                            Ok((id, _)) => *id,
                            Err(error) => error.id(),
                        };
                        reading.retain(|_, reader| *reader != id);
                        match ended {
                            Ok((_, (shard, Left::Finished))) => {
                                tracing::info!(shard, "shard finished");
                                // Its children may be listed by now.
                                if let Some(View { listing_due, .. }) = &mut view {
                                    *listing_due = Instant::now();
                                }
                            }
                            Ok((_, (shard, Left::Lost))) => tracing::warn!(shard, "the lease is somebody else's now"),
                            Ok((_, (_, Left::Stopped))) => {}
                            Err(error) => tracing::error!(%error, "a shard's reader ended badly"),
                        }
                    }
                    () = &mut pause => break,
                }
            }
        }
        while readers.join_next().await.is_some() {}
    }

    /// Lists shards now and then, sees which leases are to be had, and starts readers.
    async fn look(
        self: &Arc<Self>,
        view: &mut Option<View>,
        readers: &mut JoinSet<(ShardId, Left)>,
        reading: &mut HashMap<ShardId, tokio::task::Id>,
        stop: &CancellationToken,
    ) -> Result<(), LookError> {
        let listing_due = view.as_ref().is_none_or(|view| view.listing_due <= Instant::now());
        let listed = if listing_due { self.find_and_list(view).await } else { Ok(()) };
        let Some(view) = view else { return listed };
        if let Err(error) = listed {
            // The leases go on without: whoever dies meanwhile must be made good for.
            Count::Retries.add(1);
            tracing::warn!(error = report(&error), "the shards could not be listed");
            view.listing_due = Instant::now() + view.backoff.next(&*self.environment);
        } else if listing_due {
            (view.listing_due, view.backoff) = (Instant::now() + LIST_EVERY, Backoff::default());
        }
        let leases = LeaseTable::list(&self.table, &view.stream).await?;
        let now = Instant::now();
        view.watch.observe(&leases, now);
        let mine: HashSet<ShardId> = reading.keys().cloned().collect();
        for lease in leases_to_take(&leases, &view.watch, now, &self.name, &mine) {
            if self.has_unfinished_parent(&view.stream, &leases, lease).await? {
                continue;
            }
            let asked = Instant::now();
            let taken = take(&self.table, &view.stream, lease, &self.name).await.unwrap_or_else(|error| {
                Count::Retries.add(1);
                tracing::warn!(error = report(&error), shard = lease.shard, "the lease could not be taken");
                None
            });
            if let Some(held) = taken {
                let (consumer, stream, stop) = (self.clone(), view.stream.clone(), stop.clone());
                let shard = held.shard.clone();
                let reader = readers.spawn(async move { consumer.hold(&stream, held, asked, &stop).await });
                reading.insert(shard, reader.id());
            }
        }
        Ok(())
    }

    /// Whether the shard's parent is still being read although its lease is not among `leases`: a list that lags may show
    /// a child before its parent.
    async fn has_unfinished_parent(&self, stream: &str, leases: &[Lease], lease: &Lease) -> Result<bool, TableError> {
        match &lease.parent {
            Some(parent) if leases.iter().all(|it| it.shard != *parent) => {
                Ok(self.table.get(stream, parent).await?.is_some_and(|parent| !parent.is_finished()))
            }
            _ => Ok(false),
        }
    }

    /// Finds the table's stream, which may be another one than before, and lists its shards.
    async fn find_and_list(&self, view: &mut Option<View>) -> Result<(), LookError> {
        let stream = self.source.stream().await?;
        if view.as_ref().is_none_or(|view| view.stream != stream) {
            // What was written between two streams is in neither: the new one begins behind a gap.
            let last = self.table.last_stream().await?;
            let is_another = last.as_ref().is_some_and(|last| *last != stream);
            self.list(&stream, is_another).await?;
            if last.as_ref() != Some(&stream) {
                self.table.note_stream(&stream).await?;
            }
            let (listing_due, backoff, watch) = (Instant::now(), Backoff::default(), Watch::default());
            *view = Some(View { stream, listing_due, backoff, watch });
        } else {
            self.list(&stream, false).await?;
        }
        self.health.listed();
        Ok(())
    }

    /// Gives every listed shard a lease, and removes those of finished shards that are no more. In a stream that is new,
    /// the shards that have no parent begin behind a gap.
    async fn list(&self, stream: &str, is_new: bool) -> Result<(), LookError> {
        // The leases before the shards: a lease that was finished then and whose shard is not listed now is of a shard that
        // is no more. The other way about it may be of one that came to be listed, and was finished, in between.
        let leases = LeaseTable::list(&self.table, stream).await?;
        let shards = self.source.shards(stream).await?;
        let known: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
        let listed: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let mut missing: Vec<&Shard> = shards.iter().filter(|shard| !known.contains(&shard.id)).collect();
        // Parents first: a lease whose parent has none may be taken at once.
        while !missing.is_empty() {
            let waiting: HashSet<&ShardId> = missing.iter().map(|shard| &shard.id).collect();
            let is_ready = |shard: &Shard| shard.parent.as_ref().is_none_or(|parent| !waiting.contains(parent));
            let (ready, later): (Vec<&Shard>, Vec<&Shard>) = missing.iter().partition(|shard| is_ready(shard));
            for shard in &ready {
                let parent = shard.parent.as_ref();
                let lease = leases.iter().find(|lease| Some(&lease.shard) == parent);
                let is_behind_gap = match (parent, lease) {
                    // Its parent ended so long ago that its own first records may be trimmed by now.
                    (Some(_), Some(lease)) => lease.is_finished() && self.may_be_trimmed(lease.complete_since()),
                    (Some(parent), None) if listed.contains(parent) => false,
                    // Where others have been seen and this one's parent never was, the parent came and went unseen.
                    (Some(_), None) => is_new || !leases.is_empty(),
                    (None, _) => is_new,
                };
                // What it continues is handled until then, and its own records are younger.
                let since = lease.and_then(Lease::complete_since);
                self.table.create(stream, &self.new_lease((*shard).clone(), since, is_behind_gap)).await?;
            }
            if ready.is_empty() {
                tracing::error!(?later, "shards that are each other's parents are passed over");
                break;
            }
            missing = later;
        }
        for lease in leases.iter().filter(|lease| lease.is_finished() && !listed.contains(&lease.shard)) {
            // Its children have leases: they were written before its end was.
            LeaseTable::remove(&self.table, stream, &lease.shard).await?;
        }
        Ok(())
    }

    /// Whether records that came into the stream after `since` can be trimmed by now. An instant that nobody noted does not
    /// count. The clocks of two machines are compared, and a tenth of the retention is more than they differ.
    pub(super) fn may_be_trimmed(&self, since: Option<i64>) -> bool {
        let Self { environment, retention, .. } = self;
        let age = since.map_or(0, |since| environment.now().timestamp_millis().saturating_sub(since));
        u128::try_from(age).is_ok_and(|age| age > retention.as_millis() * 9 / 10)
    }

    /// A lease for a shard whose records are younger than `since`, or than now where nothing is known.
    pub(super) fn new_lease(&self, shard: Shard, since: Option<i64>, is_behind_gap: bool) -> NewLease {
        let created_at = since.unwrap_or_else(|| self.environment.now().timestamp_millis());
        NewLease { shard, created_at, is_behind_gap }
    }

    /// Reads a shard while the lease holds, renewing it beside the work.
    async fn hold(&self, stream: &str, held: Held, taken: Instant, stop: &CancellationToken) -> (ShardId, Left) {
        tracing::info!(shard = held.shard, epoch = held.epoch, "lease taken");
        Count::LeasesTaken.add(1);
        let _leaving = Leaving { health: &self.health, shard: &held.shard };
        let reader = Reader { consumer: self, stream, held: &held, stop, steps: AtomicU64::new(0) };
        let left = tokio::select! {
            biased;
            () = self.renew(stream, &held, taken) => Left::Lost,
            left = reader.read() => left,
        };
        if matches!(left, Left::Stopped) {
            match held.write(&self.table, stream, &Change::Release).await {
                Ok(true) => {
                    Count::LeasesReleased.add(1);
                    tracing::info!(shard = held.shard, "lease handed over");
                }
                Ok(false) => tracing::info!(shard = held.shard, "the lease was somebody else's already"),
                Err(error) => tracing::warn!(error = report(&error), "the lease could not be handed over"),
            }
        }
        Count::LeasesLost.add(usize::from(left == Left::Lost));
        let shard = held.shard.clone();
        (shard, left)
    }

    /// Renews until the lease is lost: to somebody else, or because it could not be renewed for so long that somebody
    /// else may have it.
    async fn renew(&self, stream: &str, held: &Held, taken: Instant) {
        let mut renewed = taken;
        loop {
            let next = Instant::now() + self.environment.jitter(RENEW_EVERY);
            tokio::time::sleep_until(next.min(renewed + LEASE_TIME)).await;
            let asked = Instant::now();
            let answer = tokio::time::timeout_at(renewed + LEASE_TIME, held.write(&self.table, stream, &Change::Renew));
            match answer.await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(error = report(&error), shard = held.shard, "not renewed"),
                Err(_) => {}
            }
            if renewed.elapsed() >= LEASE_TIME {
                return;
            }
        }
    }
}

/// Tells that a shard is left, however it is left.
struct Leaving<'a> {
    health: &'a Health,
    shard: &'a str,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.health.left(self.shard);
    }
}
