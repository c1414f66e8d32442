//! How far the reading of one shard has come.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Checkpoint, LeaseUpdate};
use super::parts::retry_backoff;
use super::source::{Batch, Position};
use crate::backoff::Backoff;
use crate::environment::Environment;

/// Four reads a second, of the five that a shard allows.
const READ_INTERVAL: Duration = Duration::from_millis(250);
/// How long a checkpoint after records without an effect may wait to be written.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// The state of the reading of one shard under one lease.
pub struct Progress {
    /// Where the next read starts.
    pub position: Position,
    /// Records that are older than this have been handled, in milliseconds since 1970. Unknown if no clock has seen them.
    pub complete_since: Option<i64>,
    /// The iterator of the next read. It is requested from `position` if there is none.
    iterator: Option<String>,
    /// Whether the last read reached the end of a closed shard.
    is_at_end: bool,
    /// When the next read is due.
    next_read: Instant,
    /// The waits after reads that failed.
    backoff: Backoff,
    /// The checkpoint that is not written yet.
    unwritten: Option<LeaseUpdate>,
    /// When the unwritten checkpoint is due.
    checkpoint_due: Instant,
    /// When a checkpoint was last written.
    last_written: Instant,
    /// Number of checkpoints that were made under this lease.
    steps: u64,
}

impl Progress {
    /// Reading starts at `position`.
    pub fn new(position: Position, complete_since: Option<i64>) -> Self {
        let now = Instant::now();
        Self {
            position,
            complete_since,
            iterator: None,
            is_at_end: false,
            next_read: now,
            backoff: retry_backoff(),
            unwritten: None,
            checkpoint_due: now,
            last_written: now,
            steps: 0,
        }
    }

    /// When the next read is due.
    pub fn next_read(&self) -> Instant {
        self.next_read
    }

    /// A read starts. Returns the iterator to use, if there is one.
    pub fn start_read(&mut self) -> Option<String> {
        self.next_read = Instant::now() + READ_INTERVAL;
        self.iterator.take()
    }

    /// A read failed, and the next one waits longer.
    pub fn on_error(&mut self, environment: &dyn Environment) {
        self.next_read = Instant::now() + self.backoff.next(environment);
    }

    /// A read returned no records: everything until `now` is handled. At the end of a closed shard this is not known: the
    /// records since the unknown time at which it was closed are in its children.
    pub fn on_empty_batch(&mut self, batch: &Batch, now: i64) {
        if batch.next.is_some() {
            self.complete_since = Some(now);
        }
    }

    /// The records of a batch are handled. `had_effect` says whether one of them had an effect: then the checkpoint is due
    /// at once.
    pub fn on_batch(&mut self, batch: &Batch, had_effect: bool) {
        let Some(last) = batch.records.last() else { return };
        self.position = Position::After(last.sequence_number.clone());
        self.complete_since = last.created_at.or(self.complete_since);
        self.unwritten = Some(self.update(Checkpoint::At(last.sequence_number.clone()), last.created_at));
        self.checkpoint_due = if had_effect {
            Instant::now()
        } else {
            self.checkpoint_due.max(self.last_written + IDLE_CHECKPOINT_INTERVAL)
        };
    }

    /// The read succeeded. The next one starts with `iterator`; there is none at the end of a closed shard.
    pub fn on_read(&mut self, iterator: Option<String>) {
        self.backoff.reset();
        self.is_at_end = iterator.is_none();
        self.iterator = iterator;
    }

    /// Whether the shard has ended.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The records before the oldest one that the stream still has were lost at `since`, and a repair is requested.
    pub fn on_gap(&mut self, since: i64) {
        (self.position, self.unwritten, self.complete_since) = (Position::TrimHorizon, None, Some(since));
    }

    /// The checkpoint to write now, if one is due.
    pub fn take_due_checkpoint(&mut self) -> Option<LeaseUpdate> {
        if Instant::now() < self.checkpoint_due {
            return None;
        }
        let update = self.unwritten.take()?;
        self.last_written = Instant::now();
        Some(update)
    }

    /// The checkpoint that is not written yet, due or not: for the end of the reading.
    pub fn take_checkpoint(&mut self) -> Option<LeaseUpdate> {
        self.unwritten.take()
    }

    /// A checkpoint of this lease. Each has a step, so that one that arrives late does not take back a later one.
    pub fn update(&mut self, checkpoint: Checkpoint, handled_until: Option<i64>) -> LeaseUpdate {
        self.steps += 1;
        LeaseUpdate::Advance { step: self.steps, checkpoint, handled_until }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{Record, RecordChange};
    use super::*;

    fn batch(sequence_number: &str) -> Batch {
        let change = RecordChange::Other;
        let record = Record { sequence_number: sequence_number.into(), created_at: Some(7), change };
        Batch { records: vec![record], next: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_is_due_at_once_after_an_effect_and_later_without_one() {
        let mut progress = Progress::new(Position::TrimHorizon, None);
        progress.on_batch(&batch("1"), true);
        let update = progress.take_due_checkpoint();
        let expected = LeaseUpdate::Advance { step: 1, checkpoint: Checkpoint::At("1".into()), handled_until: Some(7) };
        assert_eq!(update, Some(expected));
        progress.on_batch(&batch("2"), false);
        assert_eq!(progress.take_due_checkpoint(), None);
        tokio::time::advance(IDLE_CHECKPOINT_INTERVAL).await;
        assert!(progress.take_due_checkpoint().is_some());
        assert_eq!((progress.position, progress.complete_since), (Position::After("2".into()), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_drops_the_checkpoint_before_it() {
        let mut progress = Progress::new(Position::TrimHorizon, None);
        progress.on_batch(&batch("1"), false);
        progress.on_gap(9);
        assert_eq!(progress.take_checkpoint(), None);
        assert_eq!((progress.position, progress.complete_since), (Position::TrimHorizon, Some(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_read_handles_everything_until_now_unless_the_shard_is_closed() {
        let mut progress = Progress::new(Position::TrimHorizon, Some(1));
        progress.on_empty_batch(&Batch { records: Vec::new(), next: Some("iterator".to_owned()) }, 5);
        assert_eq!(progress.complete_since, Some(5));
        progress.on_empty_batch(&Batch::default(), 9);
        assert_eq!(progress.complete_since, Some(5), "its children have older records");
    }
}
