//! Reads one shard under a lease and puts its records into effect.
//!
//! What cannot be reached is waited for; what fails by its own fault is tried a few times and set aside, since one bad
//! record must not hold up everybody behind it; what was lost to trimming is reconciled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, trace_span};

use super::backoff::Backoff;
use super::consumer::Consumer;
use super::effect::{Effect, TRIES_OF_A_FAULT, move_to};
use super::lease::{Change, Checkpoint, Held, Lease, LeaseTable};
use super::planner::{Arrival, Malformed, arrivals};
use super::reconcile::{Failed, Reconciler};
use super::rows::GroupRows;
use super::set_aside::{SetAside, SetAsideTable};
use super::source::{Batch, Position, Record, StreamError, StreamSource};
use crate::messages_table::keys::messages_pk;
use crate::metrics::Count;
use crate::report;

/// Four reads a second, of the five that a shard allows.
const READ_EVERY: Duration = Duration::from_millis(250);
/// How many groups are moved at once.
const CONCURRENT_MOVES: usize = 8;
/// How long a checkpoint past records that had no effect may wait.
const IDLE_CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// How long the batch at hand may go on when it is time to stop: what is left of it, the next process does.
const DRAIN: Duration = Duration::from_millis(250);
/// How often the children of an ended shard are looked for before the listing that comes anyway must find them.
const LOOKS_FOR_CHILDREN: u32 = 6;

/// Why a shard is not read any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It is consumed to its end.
    Finished,
    /// It is time to stop; the lease is ours still.
    Stopped,
    /// The lease is somebody else's.
    Lost,
}

/// Reads one shard.
pub(super) struct Reader<'a, S, T, R> {
    pub consumer: &'a Consumer<S, T, R>,
    pub stream: &'a str,
    pub held: &'a Held,
    pub stop: &'a CancellationToken,
    /// How many checkpoints were drawn up under this lease.
    pub steps: AtomicU64,
}

impl<S: StreamSource, T: LeaseTable + SetAsideTable, R: GroupRows> Reader<'_, S, T, R> {
    /// Reads from the checkpoint to the shard's end.
    pub async fn read(&self) -> Left {
        match self.run().await {
            Ok(()) => Left::Finished,
            Err(left) => left,
        }
    }

    async fn run(&self) -> Result<(), Left> {
        let lease = self.retry("reading the checkpoint", || self.consumer.table.get(self.stream, &self.held.shard));
        let lease = lease.await?;
        let mut complete_since = match &lease {
            Some(lease) => lease.complete_since().max(self.end_of_parent(lease).await?),
            None => None,
        };
        let mut position = match lease.and_then(|lease| lease.checkpoint) {
            Some(Checkpoint::ShardEnd) => return Ok(()),
            Some(Checkpoint::At(number)) => Position::After(number),
            Some(Checkpoint::TrimHorizon) | None => Position::TrimHorizon,
            Some(Checkpoint::BehindGap) => {
                complete_since = Some(self.begin_behind_gap(&Position::TrimHorizon).await?);
                Position::TrimHorizon
            }
        };
        let mut iterator: Option<String> = None;
        let mut written = Instant::now();
        let mut unwritten: Option<Change> = None;
        let mut due = written;
        let mut next_read = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    if let Some(change) = unwritten
                        && let Err(error) = self.held.write(&self.consumer.table, self.stream, &change).await
                    {
                        tracing::warn!(error = report(&error), "the last checkpoint was not written");
                    }
                    return Err(Left::Stopped);
                }
                () = tokio::time::sleep_until(next_read) => {}
            }
            next_read = Instant::now() + READ_EVERY;
            let batch = match self.next_batch(&position, complete_since, iterator.take()).await {
                Ok(batch) => batch,
                Err(StreamError::IteratorExpired) => continue,
                Err(StreamError::Trimmed) => {
                    complete_since = Some(self.begin_behind_gap(&position).await?);
                    (position, unwritten) = (Position::TrimHorizon, None);
                    continue;
                }
                Err(StreamError::Gone { .. }) if self.is_no_more().await => {
                    // A shard that vanishes half read counts as finished, and what was in it is made up for.
                    let begun = self.now();
                    self.mend_gap(&position).await?;
                    return self.finish(Some(begun)).await;
                }
                Err(error) => {
                    Count::Retries.add(1);
                    self.consumer.health.waits(&self.held.shard, None);
                    tracing::warn!(error = report(&error), shard = self.held.shard, "the shard could not be read");
                    next_read = Instant::now() + backoff.next(&*self.consumer.environment);
                    continue;
                }
            };
            backoff = Backoff::default();
            let Batch { records, next } = batch;
            // What follows a batch is younger than its last record. Behind none, nothing waits.
            let mut behind = None;
            if let Some(last) = records.last() {
                let age = |at: Option<i64>| {
                    Duration::from_millis(
                        at.and_then(|at| u64::try_from(self.now().saturating_sub(at)).ok()).unwrap_or_default(),
                    )
                };
                let oldest = records.iter().find_map(|record| record.created_at);
                self.consumer.health.waits(&self.held.shard, Some(age(oldest)));
                let acted = self.apply(&records).await?;
                position = Position::After(last.sequence_number.clone());
                let checkpoint = Checkpoint::At(last.sequence_number.clone());
                unwritten = Some(self.advance(checkpoint, last.created_at));
                complete_since = last.created_at.or(complete_since);
                behind = Some(age(last.created_at));
                due = if acted { Instant::now() } else { due.max(written + IDLE_CHECKPOINT_EVERY) };
            } else {
                complete_since = Some(self.now());
            }
            if Instant::now() >= due
                && let Some(change) = unwritten.take()
            {
                self.write(&change).await?;
                written = Instant::now();
            }
            self.consumer.health.progressed(&self.held.shard, behind);
            if next.is_none() {
                return self.finish(complete_since).await;
            }
            iterator = next;
        }
    }

    /// Until when the shard's parent was handled when it ended. Its lease may have had an older time when the shard's was
    /// made: where nothing is written, leases are passed on from shard to shard without any record.
    async fn end_of_parent(&self, lease: &Lease) -> Result<Option<i64>, Left> {
        let Some(parent) = lease.parent.as_ref().filter(|_| lease.checkpoint.is_none()) else { return Ok(None) };
        let table = &self.consumer.table;
        let parent = self.retry("reading the parent's end", || table.get(self.stream, parent)).await?;
        Ok(parent.filter(Lease::is_finished).and_then(|parent| parent.handled_until))
    }

    fn advance(&self, checkpoint: Checkpoint, handled_until: Option<i64>) -> Change {
        Change::Advance { step: self.steps.fetch_add(1, Ordering::Relaxed) + 1, checkpoint, handled_until }
    }

    fn now(&self) -> i64 {
        self.consumer.environment.now().timestamp_millis()
    }

    /// Reading from the oldest record there is would not tell that older ones were trimmed: only the time does.
    async fn next_batch(
        &self,
        position: &Position,
        complete_since: Option<i64>,
        iterator: Option<String>,
    ) -> Result<Batch, StreamError> {
        let source = &self.consumer.source;
        let iterator = match iterator {
            Some(iterator) => iterator,
            None if *position == Position::TrimHorizon && self.consumer.may_be_trimmed(complete_since) => {
                return Err(StreamError::Trimmed);
            }
            None => source.iterator(self.stream, &self.held.shard, position).await?,
        };
        source.records(&iterator).await
    }

    /// Whether the stream does not list the shard any more.
    async fn is_no_more(&self) -> bool {
        match self.consumer.source.shards(self.stream).await {
            Ok(shards) => shards.iter().all(|shard| shard.id != self.held.shard),
            Err(error) => matches!(error, StreamError::Gone { .. }),
        }
    }

    /// Gives the children their leases, and then writes the end: whoever sees the end sees the children. The records of
    /// the children are younger than `complete_since`.
    async fn finish(&self, complete_since: Option<i64>) -> Result<(), Left> {
        let Consumer { source, table, environment, .. } = self.consumer;
        let shard = &self.held.shard;
        let mut backoff = Backoff::default();
        for _ in 0..LOOKS_FOR_CHILDREN {
            let children = self.retry("listing children", || source.children(self.stream, shard)).await?;
            for child in &children {
                let lease = self.consumer.new_lease(child.clone(), complete_since, false);
                self.retry("giving a child its lease", || table.create(self.stream, &lease)).await?;
            }
            if !children.is_empty() {
                break;
            }
            self.sleep(backoff.next(&**environment)).await?;
        }
        self.write(&self.advance(Checkpoint::ShardEnd, complete_since)).await
    }

    /// Makes up for a gap, so that reading can begin with the oldest record there is. Returns until when everything is
    /// handled then.
    async fn begin_behind_gap(&self, position: &Position) -> Result<i64, Left> {
        let begun = self.now();
        self.mend_gap(position).await?;
        self.write(&self.advance(Checkpoint::TrimHorizon, Some(begun))).await?;
        Ok(begun)
    }

    /// Records are gone that were never read: all groups are brought to their newest messages. Those that cannot be are
    /// set aside. To be cut off at any point costs nothing but time.
    async fn mend_gap(&self, position: &Position) -> Result<(), Left> {
        let Self { consumer: Consumer { rows, environment, health, .. }, held, .. } = self;
        Count::Gaps.add(1);
        health.waits(&held.shard, None);
        tracing::error!(shard = held.shard, ?position, "records were trimmed before they were read: reconciling");
        let reconciler = Reconciler { rows, environment: &**environment, tries_of_an_outage: u32::MAX };
        let done = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Left::Stopped),
            done = self.retry("reconciling", || reconciler.all(|_| health.moved(&held.shard))) => done?,
        };
        tracing::warn!(groups = done.groups, moved = done.moved, failed = done.failed.len(), "reconciled");
        for Failed { group, newest, reason } in done.failed {
            let sk = newest.map(|newest| newest.sort_key.as_str().to_owned()).unwrap_or_default();
            self.set_aside(&format!("reconcile-{group}"), reason, &messages_pk(group), &sk).await?;
        }
        Ok(())
    }

    /// Writes to the lease; a lease that is somebody else's ends the reading.
    async fn write(&self, change: &Change) -> Result<(), Left> {
        let table = &self.consumer.table;
        let written = self.retry("writing the checkpoint", || self.held.write(table, self.stream, change)).await?;
        if written { Ok(()) } else { Err(Left::Lost) }
    }

    /// Puts a batch into effect. Returns whether it had any business with us.
    async fn apply(&self, records: &[Record]) -> Result<bool, Left> {
        let sorted = arrivals(records);
        Count::Read.add(records.len());
        Count::Skipped.add(sorted.skipped);
        Count::Coalesced.add(sorted.coalesced);
        for Malformed { sequence_number, pk, sk, error } in &sorted.malformed {
            self.set_aside(sequence_number, error.to_string(), pk, sk).await?;
        }
        let batch = match sorted.newest.len() {
            0 => Span::none(),
            messages => trace_span!("Consumer.batch", shard = self.held.shard, messages),
        };
        let moves = sorted.newest.iter().map(|arrival| {
            let group = arrival.message.group;
            self.apply_one(arrival).instrument(trace_span!(parent: &batch, "Consumer.move", %group))
        });
        let moves: Vec<_> = moves.collect();
        let mut moves = stream::iter(moves).buffer_unordered(CONCURRENT_MOVES);
        let drained = async {
            self.stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::pin!(drained);
        loop {
            tokio::select! {
                biased;
                // What is cut off is done again: the checkpoint stays before this batch.
                () = &mut drained => return Err(Left::Stopped),
                moved = moves.next() => match moved {
                    Some(moved) => moved?,
                    None => break,
                },
            }
            self.consumer.health.moved(&self.held.shard);
        }
        Ok(!sorted.newest.is_empty() || !sorted.malformed.is_empty())
    }

    async fn apply_one(&self, arrival: &Arrival) -> Result<(), Left> {
        let Arrival { sequence_number, message } = arrival;
        let Consumer { rows, environment, .. } = self.consumer;
        let mut faults = 0;
        let mut backoff = Backoff::default();
        loop {
            let (reason, is_passing) = match move_to(rows, message, &**environment).await {
                Ok(effect) if effect != Effect::NobodyThere => {
                    Count::Moves.add(usize::from(effect == Effect::Moved));
                    return Ok(());
                }
                Ok(_) => (Effect::NOBODY_THERE.to_owned(), false),
                Err(error) => (report(&error), error.is_passing()),
            };
            Count::Retries.add(1);
            tracing::warn!(reason, group = %message.group, "the group could not be moved");
            faults += u32::from(!is_passing);
            if faults == TRIES_OF_A_FAULT {
                let (pk, sk) = (messages_pk(message.group), message.sort_key.as_str());
                return self.set_aside(sequence_number, reason, &pk, sk).await;
            }
            self.sleep(backoff.next(&**environment)).await?;
        }
    }

    async fn set_aside(&self, sequence_number: &str, reason: String, pk: &str, sk: &str) -> Result<(), Left> {
        Count::SetAside.add(1);
        tracing::error!(sequence_number, reason, message_pk = pk, message_sk = sk, "record set aside");
        let aside = SetAside {
            stream: self.stream.to_owned(),
            sequence_number: sequence_number.to_owned(),
            reason,
            message_pk: pk.to_owned(),
            message_sk: sk.to_owned(),
            set_aside_at: self.consumer.environment.now().to_rfc3339(),
        };
        self.retry("setting a record aside", || self.consumer.table.put(&aside)).await
    }

    /// Calls until it succeeds, with growing waits.
    async fn retry<A, E, F>(&self, what: &str, mut call: impl FnMut() -> F) -> Result<A, Left>
    where
        E: std::error::Error,
        F: Future<Output = Result<A, E>>,
    {
        let mut backoff = Backoff::default();
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    Count::Retries.add(1);
                    self.consumer.health.waits(&self.held.shard, None);
                    tracing::warn!(error = report(&error), what, "will try again");
                }
            }
            self.sleep(backoff.next(&*self.consumer.environment)).await?;
        }
    }

    async fn sleep(&self, time: Duration) -> Result<(), Left> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Left::Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
