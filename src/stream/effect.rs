//! Moves a group to the top of the lists of both participants.
//!
//! Each transaction deletes the row that it replaces, on the condition that the row is still there. If a row is missing, the
//! transaction increments the version of the membership, on the condition that no other writer has done so. Of two concurrent
//! writers, one succeeds, and the other reads the rows again.

use std::time::Duration;

use super::planner::{MovePlan, RowsSource, participants_of, plan};
use super::rows::GroupRows;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::{GroupRow, Membership, Message, MoveOutcome, RowMove, SortKey, TableError};
use crate::metrics::Count;
use crate::model::NameCopy;

/// How long the index usually lags: the first wait before the rows are read again.
const INDEX_LAG: Duration = Duration::from_millis(40);
const MAX_WAIT: Duration = Duration::from_millis(640);
/// How often the rows are read from the index before they are read from the table, which costs a read of both lists.
const INDEX_READS: u32 = 2;
/// Maximum number of reads. Each one that was in vain means that another writer was faster.
const MAX_READS: u32 = 12;

/// Maximum number of tries of a move that fails permanently.
pub const FAULT_TRIES: u32 = 5;

/// What a message did to the rows of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They moved.
    Moved,
    /// They were up to date.
    UpToDate,
    /// The group has no rows and no membership, so its participants are unknown.
    NoParticipants,
}

impl Effect {
    /// The reason that an operator reads for [`Effect::NoParticipants`].
    pub const NO_PARTICIPANTS: &str = "the participants of the group are unknown: it has no rows and no membership";
}

/// Why the rows were not moved.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A call failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Another transaction held the rows. A retry will succeed at some time.
    #[error("other transactions held the rows")]
    Conflicting,
    /// The rows changed after each read. A limited number of retries makes sense.
    #[error("the rows changed after each read")]
    Contended,
}

impl EffectError {
    /// Whether the error is not about this group: it will end, or an operator must repair something that all groups need, such
    /// as an IAM permission.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Table(TableError::Unavailable { .. } | TableError::Refused { .. }) | Self::Conflicting => true,
            Self::Table(TableError::Invalid { .. } | TableError::Item(_)) | Self::Contended => false,
        }
    }
}

/// Moves the group of `message` to it, in the list of every participant whose row is older.
pub async fn move_to<R: GroupRows>(
    table: &R,
    message: &Message,
    environment: &dyn Environment,
) -> Result<Effect, EffectError> {
    let mut mover = Mover { table, to: message.sort_key.clone(), message: message.clone(), missing_under: None };
    let mut backoff = Backoff::new(INDEX_LAG, MAX_WAIT);
    let mut conflicts = 0;
    for read in 0..MAX_READS {
        if read > 0 {
            tokio::time::sleep(backoff.next(environment)).await;
        }
        let planned = if read < INDEX_READS { mover.read_index().await? } else { mover.read_table().await? };
        let rows = match planned {
            Planned::Now(MovePlan::Nothing) => return Ok(Effect::UpToDate),
            Planned::Now(MovePlan::Move(rows)) => rows,
            Planned::Now(MovePlan::ReadTable) | Planned::ReadAgain => continue,
            Planned::NoParticipants => return Ok(Effect::NoParticipants),
        };
        match table.move_rows(&rows).await? {
            MoveOutcome::Done => return Ok(Effect::Moved),
            MoveOutcome::Stale => Count::Conflicts.add(1),
            MoveOutcome::Conflict => {
                Count::Conflicts.add(1);
                conflicts += 1;
            }
            // Only a bare timestamp of the legacy system can be the sort key of another row too.
            MoveOutcome::Taken => mover.to = SortKey::made_unique_by(&mover.to, mover.message.uuid.0),
        }
    }
    Err(if conflicts > 0 { EffectError::Conflicting } else { EffectError::Contended })
}

enum Planned {
    Now(MovePlan),
    /// The rows that were read do not suffice for a decision.
    ReadAgain,
    NoParticipants,
}

/// One move.
struct Mover<'a, R> {
    table: &'a R,
    message: Message,
    /// The sort key that the rows will have.
    to: SortKey,
    /// The version of the membership under which the previous read found a row missing.
    missing_under: Option<u64>,
}

impl<R: GroupRows> Mover<'_, R> {
    async fn read_index(&mut self) -> Result<Planned, EffectError> {
        let rows = self.table.indexed_rows(self.message.group).await?;
        let Some(participants) = participants_of(&rows) else { return Ok(Planned::ReadAgain) };
        let source = RowsSource::Index { participants: &participants };
        if matches!(plan(&self.message, &self.to, &source, &rows), MovePlan::Move(_)) && rows.iter().any(is_legacy) {
            self.ensure_membership(&rows).await?;
            self.prefer_newest().await?;
        }
        Ok(Planned::Now(plan(&self.message, &self.to, &source, &rows)))
    }

    /// Reads the membership first: a writer that puts a row after that increments its version.
    async fn read_table(&mut self) -> Result<Planned, EffectError> {
        let Some(membership) = self.find_membership().await? else { return Ok(Planned::NoParticipants) };
        let [one, other] = &membership.participants;
        let mut rows = self.table.own_rows(one.uuid, self.message.group).await?;
        if other.uuid != one.uuid {
            rows.extend(self.table.own_rows(other.uuid, self.message.group).await?);
        }
        if rows.iter().any(is_legacy) {
            self.prefer_newest().await?;
        }
        let planned = plan(&self.message, &self.to, &RowsSource::Table { membership: &membership }, &rows);
        if let MovePlan::Move(RowMove { bump: Some(bump), .. }) = &planned
            && self.missing_under.replace(bump.version) != Some(bump.version)
        {
            // A Query can run between the delete and the put of another move, which does not change the version. A row is
            // missing only if two reads found it missing.
            return Ok(Planned::ReadAgain);
        }
        Ok(Planned::Now(planned))
    }

    async fn find_membership(&self) -> Result<Option<Membership>, TableError> {
        if let Some(membership) = self.table.membership(self.message.group).await? {
            return Ok(Some(membership));
        }
        let mut rows = self.table.indexed_rows(self.message.group).await?;
        if rows.is_empty() {
            // The index lags. The author is one of the participants.
            rows = self.table.own_rows(self.message.author.uuid, self.message.group).await?;
        }
        self.ensure_membership(&rows).await
    }

    /// With legacy rows, the newest message counts, in whatever order the messages arrive.
    async fn prefer_newest(&mut self) -> Result<(), TableError> {
        if let Some(newest) = self.table.newest_message(self.message.group, None).await?
            && newest.sort_key > self.message.sort_key
        {
            self.to = newest.sort_key.clone();
            self.message = newest;
        }
        Ok(())
    }

    /// Writes the membership of a legacy group, with the participants that its rows name.
    async fn ensure_membership(&self, rows: &[GroupRow]) -> Result<Option<Membership>, TableError> {
        let group = self.message.group;
        if let Some(membership) = self.table.membership(group).await? {
            return Ok(Some(membership));
        }
        let Some(mut participants) = participants_of(rows) else { return Ok(None) };
        for participant in participants.iter_mut().filter(|it| *it.names == NameCopy::default()) {
            // No row has the names of this participant, but a message that they wrote has.
            if let Some(message) = self.table.newest_message(group, Some(participant.uuid)).await? {
                participant.names = message.author.names;
            }
        }
        let membership = Membership { group, participants, is_legacy: true, version: 1 };
        self.table.adopt_legacy_group(&membership).await?;
        self.table.membership(group).await
    }
}

/// A row of this system names the author of the newest message, and its group has a membership item.
fn is_legacy(row: &GroupRow) -> bool {
    row.author.is_none()
}
