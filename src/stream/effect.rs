//! Moving a group to the top of both lists.
//!
//! Every transaction deletes the row it replaces on the condition that it is still there, or, where none is, raises the
//! membership's version on the condition that nobody else has: of two writers one wins, the other looks again.

use std::time::Duration;

use super::planner::{Plan, View, participants_of, plan};
use super::rows::GroupRows;
use crate::environment::Environment;
use crate::messages_table::{GroupRow, Membership, Message, MoveOutcome, RowMove, SortKey, TableError};
use crate::metrics::Count;
use crate::model::NameCopy;

/// How long the index is given to catch up before the table is asked, which reads both lists; the waits before later
/// looks double, up to so many times.
const INDEX_LAG: Duration = Duration::from_millis(40);
const DOUBLINGS: u32 = 4;
/// How many looks at the index come before the table is asked.
const LOOKS_AT_INDEX: u32 = 2;
/// How many looks are taken before the effect counts as failed for now; each one lost means that another writer won.
const MOST_LOOKS: u32 = 12;

/// How often a move that fails by its own fault is tried.
pub const TRIES_OF_A_FAULT: u32 = 5;

/// What a message did to its group's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They moved.
    Moved,
    /// They were as new already.
    UpToDate,
    /// Nobody is known to take part in the group: there is no row and no membership.
    NobodyThere,
}

impl Effect {
    /// What is wrong where nobody is there.
    pub const NOBODY_THERE: &str = "nobody is known to take part in the group";
}

/// Why the rows were not moved.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A call failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Another transaction was under way at some look: worth another try for as long as it takes.
    #[error("other transactions held the rows")]
    Conflicting,
    /// The rows were never what they seemed: worth another try, but not for ever.
    #[error("the rows changed at every look")]
    Contended,
}

impl EffectError {
    /// Whether it is no fault of the group's: it will pass, or an operator must mend what all groups need, such as a right.
    pub fn is_passing(&self) -> bool {
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
    let mut conflicts = 0;
    for look in 0..MOST_LOOKS {
        if look > 0 {
            tokio::time::sleep(environment.jitter(INDEX_LAG * 2u32.pow(DOUBLINGS.min(look - 1)))).await;
        }
        let planned = if look < LOOKS_AT_INDEX { mover.look_at_index().await? } else { mover.look_at_table().await? };
        let rows = match planned {
            Planned::Now(Plan::Nothing) => return Ok(Effect::UpToDate),
            Planned::Now(Plan::Move(rows)) => rows,
            Planned::Now(Plan::AskTable) | Planned::LookAgain => continue,
            Planned::Nobody => return Ok(Effect::NobodyThere),
        };
        match table.move_rows(&rows).await? {
            MoveOutcome::Done => return Ok(Effect::Moved),
            MoveOutcome::Stale => Count::Conflicts.add(1),
            MoveOutcome::Conflict => {
                Count::Conflicts.add(1);
                conflicts += 1;
            }
            // Only a bare time of the earlier system can be another row's too.
            MoveOutcome::Taken => mover.to = SortKey::made_unique_by(&mover.to, mover.message.uuid.0),
        }
    }
    Err(if conflicts > 0 { EffectError::Conflicting } else { EffectError::Contended })
}

enum Planned {
    Now(Plan),
    /// Not enough is seen yet.
    LookAgain,
    Nobody,
}

/// One move under way.
struct Mover<'a, R> {
    table: &'a R,
    message: Message,
    /// The sort key that the rows are to have.
    to: SortKey,
    /// The membership version under which the look before found a row missing.
    missing_under: Option<u64>,
}

impl<R: GroupRows> Mover<'_, R> {
    async fn look_at_index(&mut self) -> Result<Planned, EffectError> {
        let rows = self.table.indexed_rows(self.message.group).await?;
        let Some(participants) = participants_of(&rows) else { return Ok(Planned::LookAgain) };
        let view = View::Index { participants: &participants };
        if matches!(plan(&self.message, &self.to, &view, &rows), Plan::Move(_)) && rows.iter().any(is_of_earlier_system)
        {
            self.ensure_membership(&rows).await?;
            self.prefer_newest().await?;
        }
        Ok(Planned::Now(plan(&self.message, &self.to, &view, &rows)))
    }

    /// Reads the membership first: a row that another writer puts after that raises its version.
    async fn look_at_table(&mut self) -> Result<Planned, EffectError> {
        let Some(membership) = self.find_membership().await? else { return Ok(Planned::Nobody) };
        let [one, other] = &membership.participants;
        let mut rows = self.table.own_rows(one.uuid, self.message.group).await?;
        if other.uuid != one.uuid {
            rows.extend(self.table.own_rows(other.uuid, self.message.group).await?);
        }
        if rows.iter().any(is_of_earlier_system) {
            self.prefer_newest().await?;
        }
        let planned = plan(&self.message, &self.to, &View::Table { membership: &membership }, &rows);
        if let Plan::Move(RowMove { bump: Some(bump), .. }) = &planned
            && self.missing_under.replace(bump.version) != Some(bump.version)
        {
            // A Query may look between the two halves of another writer's move, which leaves the version as it is:
            // missing is what two looks found missing.
            return Ok(Planned::LookAgain);
        }
        Ok(Planned::Now(planned))
    }

    async fn find_membership(&self) -> Result<Option<Membership>, TableError> {
        if let Some(membership) = self.table.membership(self.message.group).await? {
            return Ok(Some(membership));
        }
        let mut rows = self.table.indexed_rows(self.message.group).await?;
        if rows.is_empty() {
            // The index lags; the author is one of the participants.
            rows = self.table.own_rows(self.message.author.uuid, self.message.group).await?;
        }
        self.ensure_membership(&rows).await
    }

    /// Beside rows of the earlier system the newest message is what counts, whatever arrives in which order.
    async fn prefer_newest(&mut self) -> Result<(), TableError> {
        if let Some(newest) = self.table.newest_message(self.message.group, None).await?
            && newest.sort_key > self.message.sort_key
        {
            self.to = newest.sort_key.clone();
            self.message = newest;
        }
        Ok(())
    }

    /// Writes down who takes part in a group of the earlier system, as its rows say.
    async fn ensure_membership(&self, rows: &[GroupRow]) -> Result<Option<Membership>, TableError> {
        let group = self.message.group;
        if let Some(membership) = self.table.membership(group).await? {
            return Ok(Some(membership));
        }
        let Some(mut participants) = participants_of(rows) else { return Ok(None) };
        for participant in participants.iter_mut().filter(|it| *it.names == NameCopy::default()) {
            // Nobody's row has this one's names: a message of theirs has.
            if let Some(message) = self.table.newest_message(group, Some(participant.uuid)).await? {
                participant.names = message.author.names;
            }
        }
        let membership = Membership { group, participants, is_legacy: true, version: 1 };
        self.table.write_down(&membership).await?;
        self.table.membership(group).await
    }
}

/// Rows that this system wrote say who wrote the newest message, and stand beside a membership item.
fn is_of_earlier_system(row: &GroupRow) -> bool {
    row.author.is_none()
}
