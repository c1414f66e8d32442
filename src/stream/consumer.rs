//! The stream consumer of one process. It lists the shards, takes leases, runs a [reader](super::reader) for each lease, and
//! runs the [repair](super::repairer) if it holds the lease of the repair.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::appender::{Appender, FEED_RETENTION, OnAppend};
use super::health::Health;
use super::ids::{LeaseOwner, ShardId, StreamArn};
use super::lease::{
    HeldLease, LEASE_TIME, Lease, LeaseTable, LeaseUpdate, LeaseVersion, Watch, is_upgraded, leases_to_take, take,
};
use super::lost_records::LostRecords;
use super::open_shards::OpenShards;
use super::parts::{Left, Parts, retry_backoff, sleep};
use super::reader::ShardReader;
use super::renewal::renew_until_lost;
use super::repair::{self, RepairTable};
use super::repairer::{RepairWatch, Repairer};
use super::rows::GroupRows;
use super::set_aside::SetAsideTable;
use super::source::{Shard, StreamError, StreamSource};
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::TableError;
use crate::metrics::Count;
use crate::report;

/// Interval at which the leases are read, before jitter. A released lease is taken after about this time.
const LEASES_INTERVAL: Duration = Duration::from_millis(500);
/// Interval at which the shards are listed.
const LISTING_INTERVAL: Duration = Duration::from_secs(10);
/// Time for which DynamoDB Streams keeps records.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The stream consumer of one process.
pub struct Consumer<S, T, R> {
    parts: Parts<S, T, R>,
    name: LeaseOwner,
}

/// Why the consumer failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// A bug. The process must stop, because it does not read the shard any more.
    #[error("the reader of a shard panicked")]
    ReaderPanicked(#[source] JoinError),
    /// A bug. The process must stop, because it does not repair any more.
    #[error("the repair after a gap panicked")]
    RepairPanicked(#[source] JoinError),
}

/// Why the shards or the leases could not be read.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The stream, and the data of this process about its leases.
struct StreamState {
    arn: StreamArn,
    /// Time at which the shards are listed again.
    listing_due: Instant,
    /// Waits after listings that failed.
    listing_backoff: Backoff,
    watch: Watch,
    /// Whether no process of an earlier version can write rows any more. Until then, no shard is read.
    upgraded: watch::Sender<bool>,
}

/// The running tasks of this process, and its watch of the repair.
#[derive(Default)]
struct Work {
    tasks: JoinSet<Ended>,
    readers: HashMap<ShardId, task::Id>,
    repair: Option<task::Id>,
    repair_watch: RepairWatch,
}

/// A task that has ended, and why.
enum Ended {
    Reader(ShardId, Left),
    Repair(Left),
}

impl Work {
    fn panicked(&self, error: JoinError) -> ConsumerError {
        if self.repair == Some(error.id()) {
            ConsumerError::RepairPanicked(error)
        } else {
            ConsumerError::ReaderPanicked(error)
        }
    }
}

impl<S: StreamSource, T: LeaseTable + RepairTable + SetAsideTable, R: GroupRows> Consumer<S, T, R> {
    /// A consumer that applies the records of `source` to `rows`. `table` stores leases, the repair and set-aside entries. No
    /// other process may use the same `name` at the same time.
    pub fn new(source: S, table: T, rows: R, name: impl Into<LeaseOwner>, environment: Arc<dyn Environment>) -> Self {
        let (appender, health) = (Appender::new(Some(FEED_RETENTION)), Arc::default());
        let (lost_records, open_shards) = (LostRecords::default(), OpenShards::default());
        let retention = RETENTION;
        let parts = Parts { source, table, rows, appender, environment, retention, health, lost_records, open_shards };
        Self { parts, name: name.into() }
    }

    /// Returns the same consumer for a source that keeps records for `retention`.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.parts.retention = retention;
        self
    }

    /// Returns the same consumer with feed entries that expire after `retention`, or never if it is `None`. The consumer calls
    /// `on_append` after each transaction that appends entries.
    #[must_use]
    pub fn with_feed(mut self, retention: Option<Duration>, on_append: OnAppend) -> Self {
        self.parts.appender = Appender::new(retention);
        self.parts.appender.set_on_append(on_append);
        self
    }

    /// Returns the state that says whether the consumer makes progress.
    pub fn health(&self) -> Arc<Health> {
        self.parts.health.clone()
    }

    /// Consumes until `stop`. After that, finishes the current batches if they are short, and releases the leases.
    ///
    /// # Errors
    /// A task has panicked.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), ConsumerError> {
        let mut work = Work::default();
        let mut stream = None;
        while !stop.is_cancelled() {
            match self.look(&mut stream, &mut work, &stop).await {
                Ok(()) => self.parts.health.looked(),
                Err(error) => {
                    Count::Retries.add(1);
                    tracing::warn!(error = report(&error), "reading the leases failed, retrying");
                }
            }
            self.parts.health.record();
            self.wait(&mut stream, &mut work, &stop).await?;
        }
        while let Some(ended) = work.tasks.join_next().await {
            ended.map_err(|error| work.panicked(error))?;
        }
        Ok(())
    }

    /// Waits until the leases must be read again. Until then, handles the tasks that end.
    async fn wait(
        &self,
        stream: &mut Option<StreamState>,
        work: &mut Work,
        stop: &CancellationToken,
    ) -> Result<(), ConsumerError> {
        let pause = tokio::time::sleep(self.parts.environment.jitter(LEASES_INTERVAL));
        tokio::pin!(pause);
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = work.tasks.join_next_with_id() => ended,
                () = &mut pause => return Ok(()),
            };
            let (id, ended) = ended.map_err(|error| work.panicked(error))?;
            let (shard, left) = match ended {
                Ended::Reader(shard, left) => (shard, left),
                Ended::Repair(left) => {
                    work.repair = None;
                    if left == Left::Lost {
                        tracing::warn!("lease of the repair lost to another process");
                    }
                    continue;
                }
            };
            work.readers.retain(|_, reader| *reader != id);
            match left {
                Left::Finished => {
                    tracing::info!(%shard, "shard finished");
                    // Its children may be listed now.
                    if let Some(stream) = stream {
                        stream.listing_due = Instant::now();
                    }
                }
                Left::Lost => tracing::warn!(%shard, "lease lost to another process"),
                Left::Stopped => {}
            }
        }
    }

    /// Lists the shards if a listing is due, takes leases, and starts their readers and the repair.
    async fn look(
        self: &Arc<Self>,
        stream: &mut Option<StreamState>,
        work: &mut Work,
        stop: &CancellationToken,
    ) -> Result<(), LookError> {
        let listing_due = stream.as_ref().is_none_or(|stream| stream.listing_due <= Instant::now());
        let listed = if listing_due { self.find_and_list(stream).await } else { Ok(()) };
        let Some(stream) = stream else { return listed };
        if let Err(error) = listed {
            // The leases of dead processes must be taken even if the shards cannot be listed.
            Count::Retries.add(1);
            tracing::warn!(error = report(&error), "listing the shards failed, retrying");
            stream.listing_due = Instant::now() + stream.listing_backoff.next(&*self.parts.environment);
        } else if listing_due {
            stream.listing_due = Instant::now() + LISTING_INTERVAL;
            stream.listing_backoff.reset();
        }
        let was_upgraded = *stream.upgraded.borrow();
        let leases = LeaseTable::list(&self.parts.table, &stream.arn, !was_upgraded).await?;
        if !was_upgraded && is_upgraded(&leases) {
            stream.upgraded.send_replace(true);
        }
        let now = Instant::now();
        stream.watch.observe(&leases, now);
        let reading: HashSet<ShardId> = work.readers.keys().cloned().collect();
        for lease in leases_to_take(&leases, &stream.watch, now, &self.name, &reading) {
            if let Some((held, taken)) = self.try_take(&stream.arn, &leases, lease).await {
                let (consumer, arn, stop) = (self.clone(), stream.arn.clone(), stop.clone());
                let shard = held.shard.clone();
                let (version, upgraded) = (lease.version, stream.upgraded.subscribe());
                let reader =
                    work.tasks.spawn(async move { consumer.hold(&arn, held, taken, version, upgraded, &stop).await });
                work.readers.insert(shard, reader.id());
            }
        }
        if let Err(error) = self.look_at_repair(&stream.arn, work, stop).await {
            Count::Retries.add(1);
            tracing::warn!(error = report(&error), "reading the repair or taking its lease failed, retrying");
        }
        Ok(())
    }

    /// If a repair is pending and no living process holds its lease, takes the lease and starts the repair.
    async fn look_at_repair(
        self: &Arc<Self>,
        stream: &StreamArn,
        work: &mut Work,
        stop: &CancellationToken,
    ) -> Result<(), TableError> {
        let Parts { table, environment, lost_records, .. } = &self.parts;
        let seen = work.repair_watch.look(table, &**environment, &self.name, lost_records).await?;
        let Some(seen) = seen.filter(|_| work.repair.is_none()) else { return Ok(()) };
        let requested = Instant::now();
        let Some(lease) = repair::take(table, &seen, &self.name).await? else { return Ok(()) };
        tracing::info!(epoch = lease.epoch, "lease of the repair taken");
        let (consumer, stream, stop) = (self.clone(), stream.clone(), stop.clone());
        let repair = work.tasks.spawn(async move {
            let repairer = Repairer { parts: &consumer.parts, stream: &stream, lease: &lease, stop: &stop };
            Ended::Repair(repairer.hold(requested).await)
        });
        work.repair = Some(repair.id());
        Ok(())
    }

    /// Takes a lease. Returns the lease and the time at which it was requested. `None` if the shard must not be read yet, if
    /// another process was faster, or if a call failed.
    async fn try_take(&self, stream: &StreamArn, leases: &[Lease], lease: &Lease) -> Option<(HeldLease, Instant)> {
        let attempt = async {
            if self.has_unfinished_parent(stream, leases, lease).await? {
                return Ok(None);
            }
            let requested = Instant::now();
            Ok(take(&self.parts.table, stream, lease, &self.name).await?.map(|held| (held, requested)))
        };
        attempt.await.unwrap_or_else(|error: TableError| {
            Count::Retries.add(1);
            tracing::warn!(error = report(&error), shard = %lease.shard, "taking the lease failed, retrying");
            None
        })
    }

    /// Whether `leases` does not contain the parent of the shard although the parent is not finished. A list that lags can
    /// contain a child without its parent.
    async fn has_unfinished_parent(
        &self,
        stream: &StreamArn,
        leases: &[Lease],
        lease: &Lease,
    ) -> Result<bool, TableError> {
        match &lease.parent {
            Some(parent) if leases.iter().all(|it| it.shard != *parent) => {
                Ok(self.parts.table.get(stream, parent).await?.is_some_and(|parent| !parent.is_finished()))
            }
            _ => Ok(false),
        }
    }

    /// Finds the current stream of the table, which can differ from the last one, and lists its shards.
    async fn find_and_list(&self, stream: &mut Option<StreamState>) -> Result<(), LookError> {
        let Parts { source, table, health, .. } = &self.parts;
        let arn = source.stream().await?;
        if stream.as_ref().is_none_or(|stream| stream.arn != arn) {
            // Neither stream contains records that were written between the two, so the new stream starts after a gap.
            let last = table.last_stream().await?;
            let is_another = last.as_ref().is_some_and(|last| *last != arn);
            self.list(&arn, is_another).await?;
            if last.as_ref() != Some(&arn) {
                table.note_stream(&arn).await?;
            }
            let (listing_due, listing_backoff, watch) = (Instant::now(), retry_backoff(), Watch::default());
            let upgraded = watch::Sender::new(false);
            *stream = Some(StreamState { arn, listing_due, listing_backoff, watch, upgraded });
        } else {
            self.list(&arn, false).await?;
        }
        health.listed();
        Ok(())
    }

    /// Creates leases for listed shards that have none, and removes the leases of finished shards that are not listed any
    /// more. If the stream is new (`is_new`), shards without a parent start after a gap.
    async fn list(&self, stream: &StreamArn, is_new: bool) -> Result<(), LookError> {
        let Parts { source, table, .. } = &self.parts;
        // The leases are read before the shards. If a lease is finished and its shard is not in the later list, the shard is
        // gone. In the other order, the shard could have been created and finished between the two reads.
        let leases = LeaseTable::list(table, stream, false).await?;
        let now = self.parts.now();
        let shards = source.shards(stream).await?;
        self.parts.open_shards.listed(&shards, now);
        let known: HashSet<&ShardId> = leases.iter().map(|lease| &lease.shard).collect();
        let listed: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let mut missing: Vec<&Shard> = shards.iter().filter(|shard| !known.contains(&shard.id)).collect();
        // For each shard, the time until which it is handled. The records of its children are younger.
        let mut complete_since: HashMap<&ShardId, Option<i64>> =
            leases.iter().map(|lease| (&lease.shard, lease.complete_since())).collect();
        // The leases of parents are created first, because a lease whose parent has no lease may be taken at once.
        while !missing.is_empty() {
            let waiting: HashSet<&ShardId> = missing.iter().map(|shard| &shard.id).collect();
            let is_ready = |shard: &Shard| shard.parent.as_ref().is_none_or(|parent| !waiting.contains(parent));
            let (ready, later): (Vec<&Shard>, Vec<&Shard>) = missing.iter().partition(|shard| is_ready(shard));
            for shard in &ready {
                let parent = shard.parent.as_ref();
                let lease = leases.iter().find(|lease| Some(&lease.shard) == parent);
                let is_behind_gap = match (parent, lease) {
                    // The parent ended so long ago that the first records of the child may have been trimmed.
                    (Some(_), Some(lease)) => lease.is_finished() && self.parts.may_be_trimmed(lease.complete_since()),
                    (Some(parent), None) if listed.contains(parent) => false,
                    // This process has seen other shards of the stream, but never this parent.
                    (Some(_), None) => is_new || !leases.is_empty(),
                    (None, _) => is_new,
                };
                let since = parent.and_then(|parent| complete_since.get(parent).copied().flatten());
                let new = self.parts.new_lease((*shard).clone(), since, is_behind_gap);
                table.create(stream, &new).await?;
                complete_since.insert(&shard.id, Some(new.created_at));
            }
            if ready.is_empty() {
                tracing::error!(?later, "shards that are parents of each other are ignored");
                break;
            }
            missing = later;
        }
        for lease in leases.iter().filter(|lease| lease.is_finished() && !listed.contains(&lease.shard)) {
            // One listing can lack a shard that the stream still has. Without its lease, the shard would be read again after the
            // next listing.
            if lease.complete_since().is_none_or(|until| self.parts.are_trimmed(Some(until))) {
                // Its children have leases, because these are created before the end of the parent is written.
                LeaseTable::remove(table, stream, &lease.shard).await?;
            }
        }
        Ok(())
    }

    /// Reads a shard and renews its lease until the shard ends, the process stops or the lease is lost. `taken` is the time at
    /// which the lease was requested, and `version` its version before that.
    async fn hold(
        &self,
        stream: &StreamArn,
        lease: HeldLease,
        taken: Instant,
        version: LeaseVersion,
        upgraded: watch::Receiver<bool>,
        stop: &CancellationToken,
    ) -> Ended {
        let shard = lease.shard.clone();
        tracing::info!(%shard, epoch = lease.epoch, "lease taken");
        Count::LeasesTaken.add(1);
        let _leaving = Leaving { health: &self.parts.health, shard: &shard };
        let reader = ShardReader { parts: &self.parts, stream, lease: &lease, stop };
        let renew = || lease.write(&self.parts.table, stream, &LeaseUpdate::Renew);
        let left = tokio::select! {
            biased;
            () = renew_until_lost(&*self.parts.environment, &shard, taken, renew) => Left::Lost,
            left = async {
                match self.upgrade(stream, &lease, taken, version, upgraded, stop).await {
                    Ok(()) => reader.read().await,
                    Err(left) => left,
                }
            } => left,
        };
        if left == Left::Stopped {
            match lease.write(&self.parts.table, stream, &LeaseUpdate::Release).await {
                Ok(true) => {
                    Count::LeasesReleased.add(1);
                    tracing::info!(%shard, "lease released");
                }
                Ok(false) => tracing::info!(%shard, "another process has taken the lease already"),
                Err(error) => tracing::warn!(error = report(&error), %shard, "releasing the lease failed"),
            }
        }
        Count::LeasesLost.add(usize::from(left == Left::Lost));
        Ended::Reader(lease.shard, left)
    }
}

impl<S: StreamSource, T: LeaseTable, R> Consumer<S, T, R> {
    /// Waits until no process of an earlier version can write rows. The former holder of this lease renews it several times
    /// within the lease time, so after this time it has noticed that the lease is lost, and has stopped.
    async fn upgrade(
        &self,
        stream: &StreamArn,
        lease: &HeldLease,
        taken: Instant,
        version: LeaseVersion,
        mut upgraded: watch::Receiver<bool>,
        stop: &CancellationToken,
    ) -> Result<(), Left> {
        if version != LeaseVersion::WithFeed {
            tracing::info!(shard = %lease.shard, "lease taken from an earlier version, waiting until its process has stopped");
            sleep(stop, (taken + LEASE_TIME).saturating_duration_since(Instant::now())).await?;
            let attempt = || lease.write(&self.parts.table, stream, &LeaseUpdate::FinishUpgrade);
            if !self.parts.retry(stop, "UpdateItem", attempt, || {}).await? {
                return Err(Left::Lost);
            }
        }
        match stop.run_until_cancelled(upgraded.wait_for(|upgraded| *upgraded)).await {
            // If the sender is gone, the table has a new stream, and this shard is no longer needed.
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(Left::Stopped),
        }
    }
}

/// When it is dropped, records that the shard is not read any more.
struct Leaving<'a> {
    health: &'a Health,
    shard: &'a ShardId,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.health.left(self.shard);
    }
}
