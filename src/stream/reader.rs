//! Reads one shard under a lease and puts its records into effect.
//!
//! What cannot be reached is waited for; what fails by its own fault is tried a few times and set aside, since one bad
//! record must not hold up everybody behind it; what was lost to trimming is reconciled.

use std::time::Duration;

use chrono::Utc;
use futures::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::consumer::Consumer;
use super::effect::{Effect, move_to};
use super::lease::{Change, Checkpoint, Held, LeaseTable};
use super::planner::{Arrival, Malformed, arrivals};
use super::reconcile::reconcile_all;
use super::rows::GroupRows;
use super::set_aside::{SetAside, SetAsideTable};
use super::source::{Batch, Position, Record, StreamError, StreamSource};
use crate::messages_table::keys::messages_pk;
use crate::metrics::{self, Count};
use crate::report;

/// Four reads a second, of the five that a shard allows.
const READ_EVERY: Duration = Duration::from_millis(250);
/// How many groups are moved at once.
const CONCURRENT_MOVES: usize = 8;
/// How long a checkpoint past records that had no effect may wait.
const IDLE_CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Waits between tries double from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often a move that fails by its own fault is tried.
const TRIES_OF_A_FAULT: u32 = 5;
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
        let created_at = lease.as_ref().and_then(|lease| lease.created_at);
        let mut position = match lease.and_then(|lease| lease.checkpoint) {
            Some(Checkpoint::ShardEnd) => return Ok(()),
            Some(Checkpoint::At(number)) => Position::After(number),
            Some(Checkpoint::TrimHorizon) => Position::TrimHorizon,
            None if !self.may_be_trimmed(created_at) => Position::TrimHorizon,
            None | Some(Checkpoint::BehindGap) => self.begin_behind_gap(&Position::TrimHorizon).await?,
        };
        let mut iterator: Option<String> = None;
        let mut written = Instant::now();
        let mut unwritten: Option<Change> = None;
        let mut due = written;
        let mut next_read = Instant::now();
        let mut wait = FIRST_WAIT;
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
            let batch = match self.next_batch(&position, iterator.take()).await {
                Ok(batch) => batch,
                Err(StreamError::IteratorExpired) => continue,
                Err(StreamError::Trimmed) => {
                    (position, unwritten) = (self.begin_behind_gap(&position).await?, None);
                    continue;
                }
                Err(StreamError::Gone { .. }) if self.is_no_more().await => {
                    // A shard that vanishes half read counts as finished, and what was in it is made up for.
                    self.mend_gap(&position).await?;
                    return self.finish().await;
                }
                Err(error) => {
                    Count::Retries.add(1);
                    self.consumer.health.waits(&self.held.shard);
                    tracing::warn!(error = report(&error), shard = self.held.shard, "the shard could not be read");
                    next_read = Instant::now() + self.consumer.chance.jitter(wait);
                    wait = (wait * 2).min(LONGEST_WAIT);
                    continue;
                }
            };
            wait = FIRST_WAIT;
            let Batch { records, next } = batch;
            if let Some(last) = records.last() {
                self.consumer.health.waits(&self.held.shard);
                let acted = self.apply(&records).await?;
                position = Position::After(last.sequence_number.clone());
                let checkpoint = Checkpoint::At(last.sequence_number.clone());
                unwritten = Some(Change::Advance { checkpoint, handled_until: last.created_at });
                due = if acted { Instant::now() } else { due.max(written + IDLE_CHECKPOINT_EVERY) };
            }
            if Instant::now() >= due
                && let Some(change) = unwritten.take()
            {
                self.write(&change).await?;
                written = Instant::now();
            }
            self.consumer.health.progressed(&self.held.shard);
            let behind =
                records.last().and_then(|last| last.created_at).map_or(0, |at| Utc::now().timestamp_millis() - at);
            metrics::lag(&self.held.shard, behind.max(0) as f64 / 1000.0);
            if next.is_none() {
                return self.finish().await;
            }
            iterator = next;
        }
    }

    async fn next_batch(&self, position: &Position, iterator: Option<String>) -> Result<Batch, StreamError> {
        let source = &self.consumer.source;
        let iterator = match iterator {
            Some(iterator) => iterator,
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

    /// Gives the children their leases, and then writes the end: whoever sees the end sees the children.
    async fn finish(&self) -> Result<(), Left> {
        let Consumer { source, table, chance, .. } = self.consumer;
        let shard = &self.held.shard;
        for look in 0..LOOKS_FOR_CHILDREN {
            let children = self.retry("listing children", || source.children(self.stream, shard)).await?;
            for child in &children {
                let lease = self.consumer.new_lease(child.clone(), false);
                self.retry("giving a child its lease", || table.create(self.stream, &lease)).await?;
            }
            if !children.is_empty() {
                break;
            }
            self.sleep(chance.jitter(FIRST_WAIT * 2u32.pow(look))).await?;
        }
        self.write(&Change::Advance { checkpoint: Checkpoint::ShardEnd, handled_until: None }).await
    }

    /// Whether a shard that was found at `created_at` and never begun can have lost records by now. Reading from the oldest
    /// record there is would not tell.
    fn may_be_trimmed(&self, created_at: Option<i64>) -> bool {
        let Consumer { environment, retention, .. } = self.consumer;
        let age = environment.now().timestamp_millis() - created_at.unwrap_or(i64::MAX / 2);
        // A tenth less: clocks differ, and reading takes its time.
        u128::try_from(age).is_ok_and(|age| age > retention.as_millis() * 9 / 10)
    }

    /// Makes up for a gap, and then begins with the oldest record there is.
    async fn begin_behind_gap(&self, position: &Position) -> Result<Position, Left> {
        self.mend_gap(position).await?;
        self.write(&Change::Advance { checkpoint: Checkpoint::TrimHorizon, handled_until: None }).await?;
        Ok(Position::TrimHorizon)
    }

    /// Records are gone that were never read: all groups are brought to their newest messages.
    async fn mend_gap(&self, position: &Position) -> Result<(), Left> {
        Count::Gaps.add(1);
        tracing::error!(shard = self.held.shard, ?position, "records were trimmed before they were read: reconciling");
        let Consumer { rows, chance, .. } = self.consumer;
        let mut wait = FIRST_WAIT;
        loop {
            match reconcile_all(rows, chance, |_| {}).await {
                Ok(done) => {
                    tracing::warn!(groups = done.groups, moved = done.moved, "reconciled");
                    return Ok(());
                }
                Err(error) => tracing::warn!(error = report(&error), "reconciling begins anew"),
            }
            self.pause(&mut wait).await?;
        }
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
        let moves: Vec<_> = sorted.newest.iter().map(|arrival| self.apply_one(arrival)).collect();
        let mut moves = stream::iter(moves).buffer_unordered(CONCURRENT_MOVES);
        while let Some(moved) = moves.next().await {
            moved?;
        }
        Ok(!sorted.newest.is_empty() || !sorted.malformed.is_empty())
    }

    async fn apply_one(&self, arrival: &Arrival) -> Result<(), Left> {
        let Arrival { sequence_number, message } = arrival;
        let Consumer { rows, chance, .. } = self.consumer;
        let mut faults = 0;
        let mut wait = FIRST_WAIT;
        loop {
            let (reason, is_passing) = match move_to(rows, message, chance).await {
                Ok(effect) if effect != Effect::NobodyThere => {
                    Count::Moves.add(usize::from(effect == Effect::Moved));
                    return Ok(());
                }
                Ok(_) => ("nobody is known to take part in the group".to_owned(), false),
                Err(error) => (report(&error), error.is_passing()),
            };
            Count::Retries.add(1);
            tracing::warn!(reason, group = %message.group, "the group could not be moved");
            faults += u32::from(!is_passing);
            if faults == TRIES_OF_A_FAULT {
                let (pk, sk) = (messages_pk(message.group), message.sort_key.as_str());
                return self.set_aside(sequence_number, reason, &pk, sk).await;
            }
            self.pause(&mut wait).await?;
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
            set_aside_at: Utc::now().to_rfc3339(),
        };
        self.retry("setting a record aside", || self.consumer.table.put(&aside)).await
    }

    /// Calls until it succeeds, with growing waits.
    async fn retry<A, E, F>(&self, what: &str, mut call: impl FnMut() -> F) -> Result<A, Left>
    where
        E: std::error::Error,
        F: Future<Output = Result<A, E>>,
    {
        let mut wait = FIRST_WAIT;
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    Count::Retries.add(1);
                    tracing::warn!(error = report(&error), what, "will try again");
                }
            }
            self.pause(&mut wait).await?;
        }
    }

    async fn pause(&self, wait: &mut Duration) -> Result<(), Left> {
        let jittered = self.consumer.chance.jitter(*wait);
        *wait = (*wait * 2).min(LONGEST_WAIT);
        self.sleep(jittered).await
    }

    async fn sleep(&self, time: Duration) -> Result<(), Left> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Left::Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}
