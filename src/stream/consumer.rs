//! One process's part: it knows the shards, holds leases, and runs a [reader](super::reader) on each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::lease::{Change, Held, LEASE_TIME, LeaseTable, NewLease, Watch, leases_to_take, take};
use super::reader::{Left, Reader};
use super::rows::GroupRows;
use super::set_aside::SetAsideTable;
use super::source::{Shard, ShardId, StreamError, StreamSource};
use crate::environment::{Chance, Environment};
use crate::messages_table::TableError;
use crate::metrics::Count;
use crate::report;

/// How often the leases are looked at: what was handed over is taken within so long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the shards are listed while nothing else happens.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long DynamoDB Streams keeps records.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How often a lease is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_TIME.as_millis() as u64 / 3);

/// The stream consumer of one process.
pub struct Consumer<S, T, R> {
    pub(super) source: S,
    pub(super) table: T,
    pub(super) rows: R,
    pub(super) chance: Chance,
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
    listed: Option<Instant>,
    watch: Watch,
}

impl<S: StreamSource, T: LeaseTable + SetAsideTable, R: GroupRows> Consumer<S, T, R> {
    /// Consumes `source`, which keeps records for [`RETENTION`], into `rows`, with leases and what is set aside in `table`.
    /// No other process may have the same `name` at the same time.
    pub fn new(source: S, table: T, rows: R, name: String, chance: Chance, environment: Arc<dyn Environment>) -> Self {
        let (retention, health) = (RETENTION, Arc::default());
        Self { source, table, rows, chance, environment, retention, health, name }
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
            if let Err(error) = self.look(&mut view, &mut readers, &mut reading, &stop).await {
                tracing::warn!(error = report(&error), "the shards could not be looked at");
            }
            let pause = tokio::time::sleep(self.chance.jitter(LOOK_EVERY));
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
                                if let Some(View { listed, .. }) = &mut view {
                                    *listed = None;
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
        let now = Instant::now();
        let listing_due = view.as_ref().is_none_or(|view| view.listed.is_none_or(|at| at + LIST_EVERY <= now));
        if listing_due {
            let stream = self.source.stream().await?;
            if view.as_ref().is_none_or(|view| view.stream != stream) {
                *view = Some(View { stream, listed: None, watch: Watch::default() });
            }
        }
        let Some(view) = view else { return Ok(()) };
        if listing_due {
            self.list(&view.stream).await?;
            view.listed = Some(now);
        }
        let leases = LeaseTable::list(&self.table, &view.stream).await?;
        let now = Instant::now();
        view.watch.observe(&leases, now);
        let mine: HashSet<ShardId> = reading.keys().cloned().collect();
        for lease in leases_to_take(&leases, &view.watch, now, &self.name, &mine) {
            let asked = Instant::now();
            if let Some(held) = take(&self.table, &view.stream, lease, &self.name).await? {
                let (consumer, stream, stop) = (self.clone(), view.stream.clone(), stop.clone());
                let shard = held.shard.clone();
                let reader = readers.spawn(async move { consumer.hold(&stream, held, asked, &stop).await });
                reading.insert(shard, reader.id());
            }
        }
        Ok(())
    }

    /// Gives every listed shard a lease, and removes those of finished shards that are no more.
    async fn list(&self, stream: &str) -> Result<(), LookError> {
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
                // Where others have been seen and this one's parent never was, the parent came and went unseen.
                let parent = shard.parent.as_ref().filter(|_| !leases.is_empty());
                let is_behind_gap = parent.is_some_and(|it| !known.contains(it) && !listed.contains(it));
                self.table.create(stream, &self.new_lease((*shard).clone(), is_behind_gap)).await?;
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

    pub(super) fn new_lease(&self, shard: Shard, is_behind_gap: bool) -> NewLease {
        NewLease { shard, created_at: self.environment.now().timestamp_millis(), is_behind_gap }
    }

    /// Reads a shard while the lease holds, renewing it beside the work.
    async fn hold(&self, stream: &str, held: Held, taken: Instant, stop: &CancellationToken) -> (ShardId, Left) {
        tracing::info!(shard = held.shard, epoch = held.epoch, "lease taken");
        Count::LeasesTaken.add(1);
        let _leaving = Leaving { health: &self.health, shard: &held.shard };
        let reader = Reader { consumer: self, stream, held: &held, stop };
        let left = tokio::select! {
            biased;
            () = self.renew(stream, &held, taken) => Left::Lost,
            left = reader.read() => left,
        };
        if matches!(left, Left::Stopped) {
            match held.write(&self.table, stream, &Change::Release).await {
                Ok(_) => {
                    Count::LeasesReleased.add(1);
                    tracing::info!(shard = held.shard, "lease handed over");
                }
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
            tokio::time::sleep(self.chance.jitter(RENEW_EVERY * 2 / 3)).await;
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
