//! The progress of reading one shard.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Checkpoint, LeaseUpdate};
use super::parts::retry_backoff;
use super::source::{Batch, Position};
use crate::backoff::Backoff;
use crate::environment::Environment;

/// Interval between the starts of two reads of a shard: four reads per second.
const READ_INTERVAL: Duration = Duration::from_millis(250);
/// The same while the shard is busy: nearly five reads per second, which is what DynamoDB allows.
const BUSY_READ_INTERVAL: Duration = Duration::from_millis(210);
/// Minimum time between the last written checkpoint and a checkpoint after records without an effect.
const IDLE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of reading one shard under one lease.
pub struct Progress {
    /// Position at which the next read starts.
    pub position: Position,
    /// All records that are older than this time, in milliseconds since 1970, are handled. `None` if the time is unknown.
    pub complete_since: Option<i64>,
    /// The iterator of the next read. If it is `None`, a new one must be requested at `position`.
    iterator: Option<String>,
    /// Whether the last read reached the end of a closed shard.
    is_at_end: bool,
    /// Time at which the next read is due.
    next_read: Instant,
    /// Whether the last batch had an effect. Then more messages probably follow.
    is_busy: bool,
    /// Waits after reads that failed.
    backoff: Backoff,
    /// The checkpoint that is not written yet.
    unwritten: Option<LeaseUpdate>,
    /// Time at which the unwritten checkpoint is due.
    checkpoint_due: Instant,
    /// Time at which a checkpoint was last written.
    last_written: Instant,
    /// Number of checkpoints that were created under this lease.
    steps: u64,
}

impl Progress {
    /// The progress before the first read, which starts at `position`.
    pub fn new(position: Position, complete_since: Option<i64>) -> Self {
        let now = Instant::now();
        Self {
            position,
            complete_since,
            iterator: None,
            is_at_end: false,
            next_read: now,
            is_busy: false,
            backoff: retry_backoff(),
            unwritten: None,
            checkpoint_due: now,
            last_written: now,
            steps: 0,
        }
    }

    /// Time at which the next read is due.
    pub fn next_read(&self) -> Instant {
        self.next_read
    }

    /// Records that a read starts. Returns the iterator to use, if there is one.
    pub fn start_read(&mut self) -> Option<String> {
        self.next_read = Instant::now() + if self.is_busy { BUSY_READ_INTERVAL } else { READ_INTERVAL };
        self.iterator.take()
    }

    /// Records that a read failed. The next one waits longer.
    pub fn on_error(&mut self, environment: &dyn Environment) {
        self.next_read = Instant::now() + self.backoff.next(environment);
    }

    /// Records that a read returned no records. This does not show that no records wait: the next page may have some.
    pub fn on_empty_batch(&mut self) {
        self.is_busy = false;
    }

    /// Records that all records of a batch are handled. If one of them had an effect (`had_effect`), the checkpoint is due at
    /// once, and the shard is busy.
    pub fn on_batch(&mut self, batch: &Batch, had_effect: bool) {
        let Some(last) = batch.records.last() else { return };
        self.is_busy = had_effect;
        self.position = Position::After(last.sequence_number.clone());
        self.complete_since = last.created_at.or(self.complete_since);
        self.unwritten = Some(self.update(Checkpoint::At(last.sequence_number.clone()), last.created_at));
        self.checkpoint_due = if had_effect {
            Instant::now()
        } else {
            self.checkpoint_due.max(self.last_written + IDLE_CHECKPOINT_INTERVAL)
        };
    }

    /// Records that a read succeeded. The next one uses `iterator`, which is `None` at the end of a closed shard.
    pub fn on_read(&mut self, iterator: Option<String>) {
        self.backoff.reset();
        self.is_at_end = iterator.is_none();
        self.iterator = iterator;
    }

    /// Whether the last read reached the end of the shard.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Records a gap that was found at the time `since` and for which a repair was requested. Reading continues with the oldest
    /// record that the stream still has.
    pub fn on_gap(&mut self, since: i64) {
        (self.position, self.unwritten, self.complete_since) = (Position::TrimHorizon, None, Some(since));
    }

    /// Takes the checkpoint that must be written now, if one is due.
    pub fn take_due_checkpoint(&mut self) -> Option<LeaseUpdate> {
        if Instant::now() < self.checkpoint_due {
            return None;
        }
        let update = self.unwritten.take()?;
        self.last_written = Instant::now();
        Some(update)
    }

    /// Takes the unwritten checkpoint, even if it is not due. Used when the process stops.
    pub fn take_checkpoint(&mut self) -> Option<LeaseUpdate> {
        self.unwritten.take()
    }

    /// Creates a checkpoint of this lease. Each checkpoint has a step, so that one that arrives late does not replace a later
    /// one.
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
    async fn a_shard_is_read_more_often_while_its_records_have_an_effect() {
        let mut progress = Progress::new(Position::TrimHorizon, None);
        let mut next_read = |had_effect| {
            progress.on_batch(&batch("1"), had_effect);
            progress.start_read();
            progress.next_read() - Instant::now()
        };
        assert_eq!([next_read(true), next_read(false)], [BUSY_READ_INTERVAL, READ_INTERVAL]);
        // DynamoDB allows five reads per second.
        assert!(5 * BUSY_READ_INTERVAL > Duration::from_secs(1));
        progress.on_batch(&batch("1"), true);
        progress.on_empty_batch();
        progress.start_read();
        assert_eq!(progress.next_read() - Instant::now(), READ_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_drops_the_checkpoint_before_it() {
        let mut progress = Progress::new(Position::TrimHorizon, None);
        progress.on_batch(&batch("1"), false);
        progress.on_gap(9);
        assert_eq!(progress.take_checkpoint(), None);
        assert_eq!((progress.position, progress.complete_since), (Position::TrimHorizon, Some(9)));
    }
}
