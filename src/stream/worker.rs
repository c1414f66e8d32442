//! Reads the shards and puts the records into effect.
//!
//! Parents come before children, a checkpoint after its effect. What cannot be reached is waited for; what is malformed
//! is reported and passed over, since one bad record must not hold up everybody behind it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, CheckpointStore};
use super::effect::{Effect, move_to};
use super::planner::arrivals;
use super::source::{Batch, Position, Shard, ShardId, StreamError, StreamSource};
use crate::messages_table::{Message, MessagesTable};
use crate::report;

/// How often the shards are listed while nothing else happens.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How often while the children of an ended shard may come to be listed, and how many times.
const LIST_SOON: Duration = Duration::from_millis(500);
const LOOKS_FOR_CHILDREN: i32 = 8;
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

/// The stream consumer.
pub struct Consumer<S, C> {
    source: S,
    checkpoints: C,
    table: MessagesTable,
}

/// Why a shard is left before its end.
struct Stopped;

impl<S: StreamSource, C: CheckpointStore> Consumer<S, C> {
    /// Consumes `source` into `table`, remembering how far in `checkpoints`.
    pub fn new(source: S, checkpoints: C, table: MessagesTable) -> Self {
        Self { source, checkpoints, table }
    }

    /// Consumes until `stop`, and then finishes the batches at hand.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut readers: JoinSet<ShardId> = JoinSet::new();
        let mut running: HashSet<ShardId> = HashSet::new();
        let mut wait = FIRST_WAIT;
        // A shard that has ended has children, which may be listed a moment late.
        let mut soon = 0;
        while !stop.is_cancelled() {
            let pause = match self.start_readers(&mut readers, &mut running, &stop).await {
                Ok(()) => {
                    wait = FIRST_WAIT;
                    soon -= i32::from(soon > 0);
                    if soon > 0 { LIST_SOON } else { LIST_EVERY }
                }
                Err(error) => {
                    tracing::warn!(error, "the stream's shards could not be listed");
                    wait = (wait * 2).min(LONGEST_WAIT);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = readers.join_next() => match ended {
                    Ok(shard) => {
                        running.remove(&shard);
                        soon = LOOKS_FOR_CHILDREN;
                        // Never in a loop without a rest, whatever it ended for.
                        sleep_or_stop(LIST_SOON, &stop).await;
                    }
                    // The reader is gone with its shard id; all of them are looked at anew.
                    Err(error) => {
                        tracing::error!(%error, "a shard reader ended badly");
                        readers.shutdown().await;
                        running.clear();
                        sleep_or_stop(LONGEST_WAIT, &stop).await;
                    }
                },
            }
        }
        while readers.join_next().await.is_some() {}
    }

    /// Starts a reader on every shard that has none, is not done, and whose parent is done.
    async fn start_readers(
        self: &Arc<Self>,
        readers: &mut JoinSet<ShardId>,
        running: &mut HashSet<ShardId>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let stream = self.source.stream().await.map_err(|error| report(&error))?;
        let shards = self.source.shards(&stream).await.map_err(|error| report(&error))?;
        let mut done = HashSet::new();
        for Shard { id, .. } in shards.iter().filter(|shard| !running.contains(&shard.id)) {
            let checkpoint = self.checkpoints.read(&stream, id).await.map_err(|error| report(&error))?;
            if checkpoint == Some(Checkpoint::ShardEnd) {
                done.insert(id.clone());
            }
        }
        let listed: HashSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        for Shard { id, parent } in &shards {
            let parent_done = parent.as_ref().is_none_or(|parent| done.contains(parent) || !listed.contains(parent));
            if parent_done && !done.contains(id) && running.insert(id.clone()) {
                let (consumer, stream, id, stop) = (self.clone(), stream.clone(), id.clone(), stop.clone());
                readers.spawn(async move {
                    // Stopped or not, the shard is looked at again when the shards are listed again.
                    let _: Result<(), Stopped> = consumer.read_shard(&stream, &id, &stop).await;
                    id
                });
            }
        }
        Ok(())
    }

    /// Reads a shard from its checkpoint to its end.
    async fn read_shard(&self, stream: &str, shard: &str, stop: &CancellationToken) -> Result<(), Stopped> {
        let read = retry(stop, "checkpoint read", || self.checkpoints.read(stream, shard)).await?;
        let mut position = match read {
            Some(Checkpoint::ShardEnd) => return Ok(()),
            Some(Checkpoint::At(number)) => Position::After(number),
            None => Position::TrimHorizon,
        };
        tracing::info!(shard, ?position, "reading shard");
        let mut iterator: Option<String> = None;
        let mut last_write = Instant::now();
        let mut unwritten: Option<Checkpoint> = None;
        let mut next_read = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    if let Some(checkpoint) = unwritten && let Err(error) = self.checkpoints.write(stream, shard, &checkpoint).await {
                        tracing::warn!(error = report(&error), shard, "the last checkpoint was not written");
                    }
                    return Err(Stopped);
                }
                () = tokio::time::sleep_until(next_read) => {}
            }
            next_read = Instant::now() + READ_EVERY;
            let batch = match self.next_batch(stream, shard, &position, iterator.take()).await {
                Ok(batch) => batch,
                Err(StreamError::IteratorExpired) => continue,
                Err(StreamError::Trimmed) => {
                    tracing::error!(shard, ?position, "records are trimmed that were never consumed");
                    position = Position::TrimHorizon;
                    continue;
                }
                Err(StreamError::Gone { .. }) => {
                    tracing::warn!(shard, "the shard is gone");
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(error = report(&error), shard, "the shard could not be read");
                    next_read = Instant::now() + wait.mul_f64(0.5 + rand::random::<f64>());
                    wait = (wait * 2).min(LONGEST_WAIT);
                    continue;
                }
            };
            wait = FIRST_WAIT;
            let Batch { records, next } = batch;
            if let Some(last) = records.last() {
                let acted = self.apply(&records, stop).await?;
                position = Position::After(last.sequence_number.clone());
                let checkpoint = Checkpoint::At(last.sequence_number.clone());
                if acted || last_write.elapsed() > IDLE_CHECKPOINT_EVERY {
                    retry(stop, "checkpoint write", || self.checkpoints.write(stream, shard, &checkpoint)).await?;
                    (last_write, unwritten) = (Instant::now(), None);
                } else {
                    unwritten = Some(checkpoint);
                }
            }
            if next.is_none() {
                let end = Checkpoint::ShardEnd;
                retry(stop, "checkpoint write", || self.checkpoints.write(stream, shard, &end)).await?;
                tracing::info!(shard, "shard finished");
                return Ok(());
            }
            iterator = next;
        }
    }

    async fn next_batch(
        &self,
        stream: &str,
        shard: &str,
        position: &Position,
        iterator: Option<String>,
    ) -> Result<Batch, StreamError> {
        let iterator = match iterator {
            Some(iterator) => iterator,
            None => self.source.iterator(stream, shard, position).await?,
        };
        self.source.records(&iterator).await
    }

    /// Puts a batch into effect. Returns whether it had any business with us.
    async fn apply(&self, records: &[super::source::Record], stop: &CancellationToken) -> Result<bool, Stopped> {
        let sorted = arrivals(records);
        for (sequence_number, error) in &sorted.malformed {
            tracing::error!(sequence_number, %error, "malformed message passed over");
        }
        let acted = !sorted.newest.is_empty();
        let moves: Vec<_> = sorted.newest.iter().map(|message| self.apply_one(message, stop)).collect();
        let mut moves = stream::iter(moves).buffer_unordered(CONCURRENT_MOVES);
        while let Some(moved) = moves.next().await {
            moved?;
        }
        Ok(acted)
    }

    async fn apply_one(&self, message: &Message, stop: &CancellationToken) -> Result<(), Stopped> {
        let mut faults = 0;
        let mut wait = FIRST_WAIT;
        loop {
            let error = match move_to(&self.table, message).await {
                Ok(Effect::Moved | Effect::UpToDate) => return Ok(()),
                Ok(Effect::NobodyThere) => {
                    tracing::error!(group = %message.group, message = %message.uuid, "message without participants passed over");
                    return Ok(());
                }
                Err(error) => error,
            };
            tracing::warn!(error = report(&error), group = %message.group, "the group could not be moved");
            if !error.is_passing() {
                faults += 1;
                if faults == TRIES_OF_A_FAULT {
                    tracing::error!(group = %message.group, message = %message.uuid, "move given up");
                    return Ok(());
                }
            }
            pause(stop, &mut wait).await?;
        }
    }
}

/// Calls until it succeeds, with growing waits.
async fn retry<T, E, F>(stop: &CancellationToken, what: &str, mut call: impl FnMut() -> F) -> Result<T, Stopped>
where
    E: std::error::Error,
    F: Future<Output = Result<T, E>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(error) => tracing::warn!(error = report(&error), what, "will try again"),
        }
        pause(stop, &mut wait).await?;
    }
}

async fn sleep_or_stop(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

async fn pause(stop: &CancellationToken, wait: &mut Duration) -> Result<(), Stopped> {
    let jittered = wait.mul_f64(0.5 + rand::random::<f64>());
    *wait = (*wait * 2).min(LONGEST_WAIT);
    tokio::select! {
        () = stop.cancelled() => Err(Stopped),
        () = tokio::time::sleep(jittered) => Ok(()),
    }
}
