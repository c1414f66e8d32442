//! Moving a group to the top of both lists.
//!
//! Every transaction deletes the row it replaces on the condition that it is still there, or, where none is, raises the
//! membership's version on the condition that nobody else has: of two writers one wins, the other looks again.

use std::time::Duration;

use super::planner::{Plan, View, participants_of, plan};
use crate::messages_table::{GroupRow, Membership, Message, MessagesTable, MoveOutcome, SortKey, TableError};
use crate::messaging::earlier::write_down;

/// How long the index is given to catch up before the table is asked, which reads both lists.
const INDEX_LAG: Duration = Duration::from_millis(40);
/// How many looks at the index come before the table is asked.
const LOOKS_AT_INDEX: u32 = 2;
/// How many looks are taken before the effect counts as failed for now; each one lost means that another writer won.
const MOST_LOOKS: u32 = 12;

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

/// Why the rows were not moved.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A call failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Other writers won every time: worth another try.
    #[error("the rows changed at every look")]
    Contended,
}

impl EffectError {
    /// Whether another try may succeed without anybody mending anything.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Table(error) => error.is_unavailable(),
            Self::Contended => true,
        }
    }
}

/// Moves the group of `message` to it, in the list of every participant whose row is older.
pub async fn move_to(table: &MessagesTable, message: &Message) -> Result<Effect, EffectError> {
    let mut to = message.sort_key.clone();
    for look in 0..MOST_LOOKS {
        if look > 0 {
            tokio::time::sleep(INDEX_LAG.mul_f64(rand::random::<f64>() + 0.5)).await;
        }
        let planned = if look < LOOKS_AT_INDEX {
            plan_from_index(table, message, &to).await?
        } else {
            plan_from_table(table, message, &to).await?
        };
        let moved = match planned {
            Planned::Now(Plan::Nothing) => return Ok(Effect::UpToDate),
            Planned::Now(Plan::Move(rows)) => table.move_rows(&rows).await?,
            Planned::Now(Plan::AskTable) | Planned::NoRows => continue,
            Planned::Nobody => return Ok(Effect::NobodyThere),
        };
        match moved {
            MoveOutcome::Done => return Ok(Effect::Moved),
            MoveOutcome::Stale | MoveOutcome::Conflict => {}
            // Only a bare time of the earlier system can be another group's too.
            MoveOutcome::Taken => to = SortKey::made_unique_by(&to, message.uuid.0),
        }
    }
    Err(EffectError::Contended)
}

enum Planned {
    Now(Plan),
    /// The index has no row of the group.
    NoRows,
    Nobody,
}

async fn plan_from_index(table: &MessagesTable, message: &Message, to: &SortKey) -> Result<Planned, EffectError> {
    let rows = table.indexed_rows(message.group).await?;
    let Some(participants) = participants_of(&rows) else { return Ok(Planned::NoRows) };
    let planned = plan(message, to, &View::Index { participants: &participants }, &rows);
    if matches!(planned, Plan::Move(_)) && rows.iter().any(is_of_earlier_system) {
        ensure_membership(table, message, &rows).await?;
    }
    Ok(Planned::Now(planned))
}

/// Reads the membership first: a row that another writer puts after that raises its version.
async fn plan_from_table(table: &MessagesTable, message: &Message, to: &SortKey) -> Result<Planned, EffectError> {
    let membership = match table.membership(message.group).await? {
        Some(membership) => membership,
        None => {
            let rows = table.indexed_rows(message.group).await?;
            match ensure_membership(table, message, &rows).await? {
                Some(membership) => membership,
                None => return Ok(Planned::Nobody),
            }
        }
    };
    let [one, other] = &membership.participants;
    let mut rows = table.own_rows_of_group(one.uuid, message.group).await?;
    if other.uuid != one.uuid {
        rows.extend(table.own_rows_of_group(other.uuid, message.group).await?);
    }
    Ok(Planned::Now(plan(message, to, &View::Table { membership: &membership }, &rows)))
}

/// Rows that this system wrote say who wrote the newest message, and stand beside a membership item.
fn is_of_earlier_system(row: &GroupRow) -> bool {
    row.author.is_none()
}

async fn ensure_membership(
    table: &MessagesTable,
    message: &Message,
    rows: &[GroupRow],
) -> Result<Option<Membership>, TableError> {
    if let Some(membership) = table.membership(message.group).await? {
        return Ok(Some(membership));
    }
    let Some(mut participants) = participants_of(rows) else { return Ok(None) };
    for participant in &mut participants {
        if participant.uuid == message.author.uuid {
            participant.names = message.author.names.clone();
        }
    }
    let membership = Membership { group: message.group, participants, from_earlier_system: true, version: 1 };
    write_down(table, &membership).await?;
    table.membership(message.group).await
}
