//! Reads one shard under a lease and applies its records.
//!
//! During an outage the reader waits. A record that fails permanently is retried a few times and then set aside, because one
//! bad record must not stop the records after it. If records were trimmed before they were read, the reader requests a
//! [repair](super::repair).

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, trace_span};

use super::arrivals::{Arrival, Malformed, arrivals, parts_of};
use super::effect::{Cause, Effect, EffectError, FAULT_TRIES, Writer};
use super::ids::StreamArn;
use super::lease::{Checkpoint, HeldLease, Lease, LeaseTable, LeaseUpdate};
use super::origin::LeasedShard;
use super::parts::{Left, Parts, retry_backoff, sleep};
use super::progress::Progress;
use super::repair::RepairTable;
use super::rows::GroupRows;
use super::set_aside::{SetAsideTable, Subject};
use super::source::{Batch, Position, Record, StreamError, StreamSource};
use crate::messages_table::keys::messages_pk;
use crate::metrics::Count;
use crate::report;

/// Maximum number of groups that are moved concurrently.
const CONCURRENT_MOVES: usize = 8;
/// Maximum time for finishing the current batch after the stop. The next process applies the batch again.
const DRAIN: Duration = Duration::from_millis(250);
/// Maximum number of requests for the children of a shard that has ended. After that, the regular listing must find them.
const CHILDREN_TRIES: u32 = 6;

/// Reads one shard.
pub struct ShardReader<'a, S, T, R> {
    pub parts: &'a Parts<S, T, R>,
    pub stream: &'a StreamArn,
    pub lease: &'a HeldLease,
    pub stop: &'a CancellationToken,
}

impl<S: StreamSource, T: LeaseTable + RepairTable + SetAsideTable, R: GroupRows> ShardReader<'_, S, T, R> {
    /// Reads from the checkpoint to the end of the shard. Returns why it has ended.
    pub async fn read(&self) -> Left {
        match self.run().await {
            Ok(()) => Left::Finished,
            Err(left) => left,
        }
    }

    async fn run(&self) -> Result<(), Left> {
        let Some(mut progress) = self.start().await? else { return Ok(()) };
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(self.stopped(progress).await),
                () = tokio::time::sleep_until(progress.next_read()) => {}
            }
            let iterator = progress.start_read();
            match self.next_batch(&progress, iterator).await {
                Ok(batch) => {
                    let oldest_wait = self.apply_batch(&batch, &mut progress).await?;
                    progress.on_read(batch.next);
                    if let Some(update) = progress.take_due_checkpoint() {
                        self.write(&update).await?;
                    }
                    self.parts.health.progressed(&self.lease.shard, oldest_wait);
                    if progress.is_at_end() {
                        return self.finish(&mut progress).await;
                    }
                }
                Err(StreamError::IteratorExpired) => {}
                Err(StreamError::Trimmed) => self.handle_gap(&mut progress).await?,
                Err(StreamError::Gone { .. }) if self.is_unlisted().await => {
                    // A shard that is removed before its end was read counts as finished. A repair covers the records that
                    // were not read.
                    let since = self.parts.now();
                    self.request_repair(&progress.position).await?;
                    progress.complete_since = Some(since);
                    return self.finish(&mut progress).await;
                }
                Err(error) => {
                    Count::Retries.add(1);
                    self.parts.health.waits(&self.lease.shard, None);
                    tracing::warn!(error = report(&error), shard = %self.lease.shard, "reading the shard failed, retrying");
                    progress.on_error(&*self.parts.environment);
                }
            }
        }
    }

    /// Returns the progress at the checkpoint of the lease, or `None` if the shard is finished.
    async fn start(&self) -> Result<Option<Progress>, Left> {
        let read = self.retry("reading the checkpoint", || self.parts.table.get(self.stream, &self.lease.shard));
        let Some(lease) = read.await? else { return Ok(Some(Progress::new(Position::TrimHorizon, None))) };
        let complete_since = lease.complete_since().max(self.end_of_parent(&lease).await?);
        match lease.checkpoint {
            Some(Checkpoint::ShardEnd) => Ok(None),
            Some(Checkpoint::At(number)) => Ok(Some(Progress::new(Position::After(number), complete_since))),
            Some(Checkpoint::TrimHorizon) | None => Ok(Some(Progress::new(Position::TrimHorizon, complete_since))),
            Some(Checkpoint::BehindGap) => {
                let mut progress = Progress::new(Position::TrimHorizon, complete_since);
                self.handle_gap(&mut progress).await?;
                Ok(Some(progress))
            }
        }
    }

    /// Writes the last checkpoint once, without retries, because the process stops.
    async fn stopped(&self, mut progress: Progress) -> Left {
        if let Some(update) = progress.take_checkpoint()
            && let Err(error) = self.lease.write(&self.parts.table, self.stream, &update).await
        {
            tracing::warn!(error = report(&error), "the last checkpoint was not written");
        }
        Left::Stopped
    }

    /// Returns the time until which the parent of the shard was handled when it ended, if the shard was not read yet. The lease
    /// of the shard may contain an older time, because it can be created before the parent has ended.
    async fn end_of_parent(&self, lease: &Lease) -> Result<Option<i64>, Left> {
        let Some(parent) = lease.parent.as_ref().filter(|_| lease.checkpoint.is_none()) else { return Ok(None) };
        let table = &self.parts.table;
        let parent = self.retry("reading the end of the parent", || table.get(self.stream, parent)).await?;
        Ok(parent.filter(Lease::is_finished).and_then(|parent| parent.handled_until))
    }

    /// Reads the next records. Returns [`StreamError::Trimmed`] if reading starts at the oldest record and older ones may have
    /// been trimmed. DynamoDB reports no error in this case, so only the time shows it.
    async fn next_batch(&self, progress: &Progress, iterator: Option<String>) -> Result<Batch, StreamError> {
        let Parts { source, .. } = self.parts;
        let position = &progress.position;
        let iterator = match iterator {
            Some(iterator) => iterator,
            None => {
                let iterator = source.iterator(self.stream, &self.lease.shard, position).await?;
                // Checked after the call, because the process may have been paused before it.
                if *position == Position::TrimHorizon && self.parts.may_be_trimmed(progress.complete_since) {
                    return Err(StreamError::Trimmed);
                }
                iterator
            }
        };
        source.records(&iterator).await
    }

    /// Whether the stream does not list the shard any more.
    async fn is_unlisted(&self) -> bool {
        match self.parts.source.shards(self.stream).await {
            Ok(shards) => shards.iter().all(|shard| shard.id != self.lease.shard),
            Err(error) => matches!(error, StreamError::Gone { .. }),
        }
    }

    /// Creates the leases of the children, and then writes the end of the shard, so that a process that reads the end also finds
    /// the children. Their records are later than the last record of the shard, and than the time at which the shard was
    /// last open.
    async fn finish(&self, progress: &mut Progress) -> Result<(), Left> {
        let Parts { source, table, environment, open_shards, .. } = self.parts;
        let shard = &self.lease.shard;
        progress.complete_since = progress.complete_since.max(open_shards.last_open(shard));
        let mut backoff = retry_backoff();
        for _ in 0..CHILDREN_TRIES {
            let children = self.retry("listing the children", || source.children(self.stream, shard)).await?;
            for child in &children {
                let lease = self.parts.new_lease(child.clone(), progress.complete_since, false);
                self.retry("creating the lease of a child", || table.create(self.stream, &lease)).await?;
            }
            if !children.is_empty() {
                break;
            }
            sleep(self.stop, backoff.next(&**environment)).await?;
        }
        let end = progress.update(Checkpoint::ShardEnd, progress.complete_since);
        self.write(&end).await
    }

    /// Handles a gap: records before the oldest one that the stream still has were lost. Requests a repair, which runs while the
    /// reader continues with that record. The request is written before the checkpoint, so that after a crash between the two,
    /// the gap is found again.
    async fn handle_gap(&self, progress: &mut Progress) -> Result<(), Left> {
        let since = self.parts.now();
        self.request_repair(&progress.position).await?;
        let checkpoint = progress.update(Checkpoint::TrimHorizon, Some(since));
        self.write(&checkpoint).await?;
        progress.on_gap(since);
        Ok(())
    }

    async fn request_repair(&self, position: &Position) -> Result<(), Left> {
        let Parts { table, lost_records, .. } = self.parts;
        let (shard, now) = (&self.lease.shard, self.parts.now());
        Count::Gaps.add(1);
        tracing::error!(%shard, ?position, "records were trimmed before they were read, requesting a repair");
        let repair = self.retry("reading the repair", || table.repair()).await?;
        let request = repair.next_request();
        if let Some(number) = request {
            self.retry("requesting a repair", || table.request_repair(number, now)).await?;
        }
        lost_records.repair_is_pending(Some(request.unwrap_or(repair.requested)));
        Ok(())
    }

    /// Writes to the lease. Returns an error if another process has the lease.
    async fn write(&self, update: &LeaseUpdate) -> Result<(), Left> {
        let table = &self.parts.table;
        let written = self.retry("writing the checkpoint", || self.lease.write(table, self.stream, update)).await?;
        if written { Ok(()) } else { Err(Left::Lost) }
    }

    /// Applies a batch and records it in `progress`. Returns the age of its last record, or `None` if it has no records. The
    /// records that wait after the batch are younger.
    async fn apply_batch(&self, batch: &Batch, progress: &mut Progress) -> Result<Option<Duration>, Left> {
        let Some(last) = batch.records.last() else {
            progress.on_empty_batch();
            return Ok(None);
        };
        let age = |created_at: Option<i64>| {
            let millis = created_at.and_then(|at| u64::try_from(self.parts.now().saturating_sub(at)).ok());
            Duration::from_millis(millis.unwrap_or_default())
        };
        let oldest = batch.records.iter().find_map(|record| record.created_at);
        self.parts.health.waits(&self.lease.shard, Some(age(oldest)));
        let had_effect = self.apply(&batch.records).await?;
        progress.on_batch(batch, had_effect);
        Ok(Some(age(last.created_at)))
    }

    /// Applies records. Returns whether one of them was a message, even a malformed one.
    async fn apply(&self, records: &[Record]) -> Result<bool, Left> {
        let arrivals = arrivals(records);
        Count::Read.add(records.len());
        Count::Skipped.add(arrivals.skipped);
        let groups = &arrivals.groups;
        Count::Coalesced.add(groups.iter().map(|arrivals| arrivals.len() - 1).sum());
        for Malformed { sequence_number, pk, sk, error } in &arrivals.malformed {
            self.set_aside(Subject::Record(sequence_number.clone()), error.to_string(), pk, sk).await?;
        }
        let span = match groups.len() {
            0 => Span::none(),
            groups => trace_span!("Consumer.batch", shard = %self.lease.shard, groups),
        };
        let origin = LeasedShard::new(&self.parts.table, self.stream, self.lease);
        let moves = groups.iter().map(|arrivals| {
            let span = trace_span!(parent: &span, "Consumer.move", group = %arrivals[0].message.group);
            self.apply_group(&origin, arrivals).instrument(span)
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
                // The checkpoint stays before this batch, so the next process applies the whole batch again.
                () = &mut drained => return Err(Left::Stopped),
                moved = moves.next() => match moved {
                    Some(moved) => moved?,
                    None => break,
                },
            }
            self.parts.health.moved(&self.lease.shard);
        }
        Ok(!groups.is_empty() || !arrivals.malformed.is_empty())
    }

    /// Applies the messages of one group, in order.
    async fn apply_group(&self, origin: &LeasedShard<'_, T>, arrivals: &[Arrival]) -> Result<(), Left> {
        for part in parts_of(arrivals) {
            self.apply_part(origin, part).await?;
        }
        Ok(())
    }

    /// Applies messages that fit into one feed entry.
    async fn apply_part(&self, origin: &LeasedShard<'_, T>, arrivals: &[Arrival]) -> Result<(), Left> {
        let Parts { rows, appender, environment, lost_records, .. } = self.parts;
        let writer = Writer { table: rows, appender, environment: &**environment };
        let group = arrivals[0].message.group;
        let mut faults = 0;
        let mut backoff = retry_backoff();
        loop {
            let may_be_lost = lost_records.are_unreported(group);
            let (reason, is_transient) = match writer.apply(Cause::Arrived { origin, arrivals, may_be_lost }).await {
                Ok(effect) if effect != Effect::NoParticipants => {
                    if may_be_lost {
                        lost_records.report(group);
                    }
                    Count::Moves.add(usize::from(effect == Effect::Moved));
                    return Ok(());
                }
                Ok(_) => (Effect::NO_PARTICIPANTS.to_owned(), false),
                Err(EffectError::LeaseLost) => return Err(Left::Lost),
                Err(error) => (report(&error), error.is_transient()),
            };
            Count::Retries.add(1);
            tracing::warn!(reason, %group, "moving the group failed");
            faults += u32::from(!is_transient);
            if faults == FAULT_TRIES {
                for Arrival { sequence_number, message } in arrivals {
                    let (pk, sk) = (messages_pk(message.group), message.sort_key.as_str());
                    self.set_aside(Subject::Record(sequence_number.clone()), reason.clone(), &pk, sk).await?;
                }
                return Ok(());
            }
            sleep(self.stop, backoff.next(&**environment)).await?;
        }
    }

    async fn set_aside(&self, subject: Subject, reason: String, pk: &str, sk: &str) -> Result<(), Left> {
        let aside = self.parts.set_aside(self.stream, subject, reason, pk, sk);
        self.retry("setting a record aside", || self.parts.table.put(&aside)).await
    }

    /// Retries a call until it succeeds. Records after each failure that the shard makes no progress.
    async fn retry<A, E, F>(&self, call: &str, attempt: impl FnMut() -> F) -> Result<A, Left>
    where
        E: std::error::Error,
        F: Future<Output = Result<A, E>>,
    {
        let waits = || self.parts.health.waits(&self.lease.shard, None);
        self.parts.retry(self.stop, call, attempt, waits).await
    }
}
