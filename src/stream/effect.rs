//! Feeds the messages of a group, which means that they are appended to the feeds of both participants, and moves the group
//! to the top of the lists of both.
//!
//! Each transaction is conditional on the rows as they were read. If a row is missing, the transaction increments the version
//! of the membership, on the condition that no other writer has incremented it. Of two concurrent writers, one succeeds, and
//! the other reads the rows again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::appender::{Appender, Committed};
use super::arrivals::Arrival;
use super::origin::Origin;
use super::planner::{CountRequest, GroupCommit, MovePlan, Reset, RowsSource, Task, plan};
use super::rows::GroupRows;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::{
    Fed, GroupRow, Membership, Message, SortKey, StreamPosition, TableError, UpdateProblem, participants_of,
};
use crate::model::{NameCopy, UserUuid};

/// First wait before the rows are read again, before jitter. The index usually lags by about this time.
const INDEX_LAG: Duration = Duration::from_millis(40);
/// Maximum wait before the rows are read again, before jitter.
const MAX_WAIT: Duration = Duration::from_millis(640);
/// Number of reads of the rows from the index before they are read from the table, which costs more.
const INDEX_READS: u32 = 2;
/// Maximum number of reads of the rows. They are read again if the index lags, or if another writer has changed them.
const MAX_READS: u32 = 12;

/// Number of attempts after which an error that is not transient counts as permanent.
pub const FAULT_TRIES: u32 = 5;

/// The reason for a write to a group.
#[derive(Clone, Copy)]
pub enum Cause<'a> {
    /// At least one message arrived.
    Arrived {
        /// The shard of the messages.
        origin: &'a dyn Origin,
        /// The messages.
        arrivals: &'a [Arrival],
        /// Whether records of the group may be lost.
        may_be_lost: bool,
    },
    /// The repair checks the group, because the stream may not have delivered its newest message.
    Checked {
        /// The newest message.
        newest: &'a Message,
        /// Whether records of the group may be lost in any case. If false, they count as lost only if a row is older
        /// than the newest message.
        may_be_lost: bool,
    },
}

/// Writes the rows and feeds of groups.
pub struct Writer<'a, R> {
    /// The rows.
    pub table: &'a R,
    /// The feeds.
    pub appender: &'a Appender,
    /// Time and randomness.
    pub environment: &'a dyn Environment,
}

/// The effect of a cause on the rows of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The rows moved.
    Moved,
    /// The rows kept their position in the lists, and the feeds were written.
    Fed,
    /// The rows and feeds were already up to date.
    UpToDate,
    /// The group has no rows and no membership, so its participants are unknown.
    NoParticipants,
}

impl Effect {
    /// Text of the reason for [`Effect::NoParticipants`], for operators.
    pub const NO_PARTICIPANTS: &str = "the participants of the group are unknown: it has no rows and no membership";
}

/// Why the rows were not moved.
#[derive(Debug, thiserror::Error)]
pub enum EffectError {
    /// A call to DynamoDB failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The transaction conflicted with other transactions. A later retry can succeed.
    #[error("the transaction conflicts with other transactions")]
    Conflicting,
    /// The rows changed after each read, or the reads did not suffice for a plan. The number of retries must be limited.
    #[error("the rows changed or were incomplete in each of {MAX_READS} reads")]
    Contended,
    /// This process has lost the lease of the shard.
    #[error("the lease of the shard is lost")]
    LeaseLost,
}

impl EffectError {
    /// Whether the cause of the error is not in this group: an outage that will end, or a defect that affects all groups and
    /// that an operator must fix, such as a missing IAM permission.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Table(
                TableError::Unavailable { .. } | TableError::Refused { .. } | TableError::ListTooLong { .. },
            )
            | Self::Conflicting => true,
            Self::Table(TableError::Invalid { .. } | TableError::Item(_)) | Self::Contended | Self::LeaseLost => false,
        }
    }
}

impl<'a> Cause<'a> {
    fn newest(&self) -> &'a Message {
        match *self {
            Self::Checked { newest, .. } => newest,
            Self::Arrived { arrivals, .. } => {
                let newest = arrivals.iter().map(|arrival| &arrival.message).max_by(|a, b| a.sort_key.cmp(&b.sort_key));
                newest.expect("a cause with messages has at least one")
            }
        }
    }

    fn reset(&self) -> Reset {
        match self {
            Self::Arrived { may_be_lost: false, .. } => Reset::Never,
            Self::Arrived { may_be_lost: true, .. } | Self::Checked { may_be_lost: true, .. } => Reset::Always,
            Self::Checked { may_be_lost: false, .. } => Reset::IfBehind,
        }
    }
}

impl<R: GroupRows> Writer<'_, R> {
    /// Feeds the messages of `cause`, and moves the group in the list of each participant whose row is older than its newest
    /// message.
    pub async fn apply(&self, cause: Cause<'_>) -> Result<Effect, EffectError> {
        let newest = cause.newest();
        let to = newest.sort_key.clone();
        let mut attempt =
            Attempt { writer: self, cause, newest: newest.clone(), to, indexed: Vec::new(), missing_under: None };
        let mut backoff = Backoff::new(INDEX_LAG, MAX_WAIT);
        let mut conflicts = 0;
        for read in 0..MAX_READS {
            if read > 0 {
                tokio::time::sleep(backoff.next(self.environment)).await;
            }
            let planned = if read < INDEX_READS { attempt.read_index().await? } else { attempt.read_table().await? };
            let commit = match planned {
                Planned::Nothing => return Ok(Effect::UpToDate),
                Planned::Commit(commit) => commit,
                Planned::ReadAgain => continue,
                Planned::NoParticipants => return Ok(Effect::NoParticipants),
            };
            let effect = if commit.update.put.is_empty() { Effect::Fed } else { Effect::Moved };
            match self.appender.commit(self.table, self.environment, commit).await? {
                Committed::Done => return Ok(effect),
                Committed::Problem(UpdateProblem::Stale) => {}
                // This happens only with a sort key of the legacy system: it consists of a timestamp only, so another row can
                // have the same one.
                Committed::Problem(UpdateProblem::Taken) => {
                    attempt.to = SortKey::made_unique_by(&attempt.to, attempt.newest.uuid.0);
                }
                Committed::Conflict => conflicts += 1,
            }
        }
        Err(if conflicts > 0 { EffectError::Conflicting } else { EffectError::Contended })
    }
}

enum Planned {
    Nothing,
    Commit(GroupCommit),
    /// The rows that were read do not suffice for a plan.
    ReadAgain,
    NoParticipants,
}

/// The attempts to apply one cause.
struct Attempt<'a, R> {
    writer: &'a Writer<'a, R>,
    cause: Cause<'a>,
    /// The newest known message of the group.
    newest: Message,
    /// The sort key that rows get when they move.
    to: SortKey,
    /// The rows that the last read of the index returned.
    indexed: Vec<GroupRow>,
    /// The version of the membership when the previous read of the table did not find a row.
    missing_under: Option<u64>,
}

impl<R: GroupRows> Attempt<'_, R> {
    async fn read_index(&mut self) -> Result<Planned, EffectError> {
        let rows = self.writer.table.indexed_rows(self.newest.group).await?;
        self.indexed.clone_from(&rows);
        let Some(participants) = participants_of(&rows) else { return Ok(Planned::ReadAgain) };
        if rows.iter().any(GroupRow::is_legacy) {
            self.ensure_membership(&rows).await?;
            self.prefer_newest().await?;
        }
        self.plan(&RowsSource::Index { participants: &participants }, &rows).await
    }

    /// Reads the rows from the table, after the membership: a writer that puts a row after that increments the version of the
    /// membership.
    async fn read_table(&mut self) -> Result<Planned, EffectError> {
        let Some(membership) = self.find_membership().await? else { return Ok(Planned::NoParticipants) };
        let [one, other] = &membership.participants;
        let recent = self.writer.table.recent_sort_keys(self.newest.group).await?;
        let mut rows = self.rows_of(one.uuid, &recent).await?;
        if other.uuid != one.uuid {
            rows.extend(self.rows_of(other.uuid, &recent).await?);
        }
        if rows.iter().any(GroupRow::is_legacy) {
            self.prefer_newest().await?;
        }
        let planned = self.plan(&RowsSource::Table { membership: &membership }, &rows).await?;
        if let Planned::Commit(commit) = &planned
            && let Some(version) = commit.update.bump
            && self.missing_under.replace(version) != Some(version)
        {
            // The reads can miss a row that another transaction is moving, which does not change the version. A row counts as
            // missing only if two reads with the same version do not find it.
            return Ok(Planned::ReadAgain);
        }
        Ok(planned)
    }

    async fn plan(&self, source: &RowsSource<'_>, rows: &[GroupRow]) -> Result<Planned, EffectError> {
        // Only the newest row of each owner is used, on which the transaction is conditional. The index can still return an older
        // row that was replaced.
        let is_newest =
            |row: &&GroupRow| rows.iter().all(|other| other.owner != row.owner || other.sort_key <= row.sort_key);
        let before = Fed::of_rows(rows.iter().filter(is_newest).map(|row| &row.fed));
        let (unfed, fed) = match self.cause {
            Cause::Arrived { origin, arrivals, .. } => self.unfed(origin, arrivals, &before).await?,
            Cause::Checked { .. } => (Vec::new(), before),
        };
        let mut counts = BTreeMap::new();
        loop {
            let task = Task {
                newest: &self.newest,
                to: &self.to,
                unfed: &unfed,
                fed: &fed,
                reset: self.cause.reset(),
                counts: &counts,
            };
            let requests = match plan(&task, source, rows) {
                MovePlan::Nothing => return Ok(Planned::Nothing),
                MovePlan::ReadTable => return Ok(Planned::ReadAgain),
                MovePlan::Commit(commit) => return Ok(Planned::Commit(commit)),
                MovePlan::Count(requests) => requests,
            };
            for request in requests {
                counts.insert(request.owner, self.count(&request).await?);
            }
        }
    }

    async fn count(&self, request: &CountRequest) -> Result<u64, TableError> {
        let CountRequest { author, after, up_to, .. } = request;
        self.writer.table.count_messages(self.newest.group, *author, after.as_ref(), up_to).await
    }

    /// Returns the messages that are not fed yet, and the positions to store after they are fed.
    async fn unfed<'b>(
        &self,
        origin: &dyn Origin,
        arrivals: &'b [Arrival],
        before: &Fed,
    ) -> Result<(Vec<&'b Message>, Fed), EffectError> {
        let at =
            |arrival: &'b Arrival| StreamPosition { shard: origin.name(), sequence_number: &arrival.sequence_number };
        let unfed: Vec<&Arrival> =
            arrivals.iter().filter(|arrival| before.contains(at(arrival)) != Some(true)).collect();
        let Some(last) = unfed.last() else { return Ok((Vec::new(), before.clone())) };
        if before.contains(at(last)).is_none() && !origin.is_held().await? {
            return Err(EffectError::LeaseLost);
        }
        let mut finished = HashSet::new();
        for shard in before.shards().filter(|shard| *shard != origin.name()) {
            if origin.is_finished(shard).await? {
                finished.insert(shard);
            }
        }
        let fed = before.advanced(at(last), |shard| !finished.contains(shard));
        Ok((unfed.into_iter().map(|arrival| &arrival.message).collect(), fed))
    }

    async fn find_membership(&self) -> Result<Option<Membership>, TableError> {
        let group = self.newest.group;
        // The marker is read before the membership item. In the other order, the group could be adopted between the two reads,
        // and would seem not to exist.
        let legacy_is_adopted = self.writer.table.legacy_is_adopted().await?;
        if let Some(membership) = self.writer.table.membership(group).await? {
            return Ok(Some(membership));
        }
        if legacy_is_adopted {
            return Ok(None);
        }
        let mut rows = self.writer.table.indexed_rows(group).await?;
        if rows.is_empty() {
            // The index lags, so the rows of the author, who is a participant, are read from the table.
            let (author, recent) = (self.newest.author.uuid, self.writer.table.recent_sort_keys(group).await?);
            rows = match self.row_at_one_of(author, recent.iter()).await? {
                Some(row) => vec![row],
                None => self.writer.table.own_rows(author, group).await?,
            };
        }
        self.ensure_membership(&rows).await
    }

    /// Reads the rows of a participant with strong consistency. First it reads the keys that the index returned and the
    /// keys of the `recent` messages, to which moves put rows. It reads the whole list only if these reads do not
    /// suffice, because the cost is proportional to the number of conversations of the participant.
    async fn rows_of(&self, owner: UserUuid, recent: &[SortKey]) -> Result<Vec<GroupRow>, TableError> {
        let group = self.newest.group;
        let indexed: BTreeSet<&SortKey> =
            self.indexed.iter().filter(|row| row.owner == owner).map(|row| &row.sort_key).collect();
        let mut found = Vec::new();
        for sort_key in &indexed {
            found.extend(self.writer.table.row_at(owner, group, sort_key).await?);
        }
        // Some lists of the legacy system contain two rows of a group. If a row was written by this system, it is the
        // only one.
        let has_moved = |row: &GroupRow| !row.is_legacy();
        if found.iter().any(has_moved) || (!found.is_empty() && found.len() == indexed.len()) {
            return Ok(found);
        }
        let others = recent.iter().filter(|sort_key| !indexed.contains(sort_key));
        match self.row_at_one_of(owner, others).await? {
            Some(row) if has_moved(&row) => Ok(vec![row]),
            _ => self.writer.table.own_rows(owner, group).await,
        }
    }

    async fn row_at_one_of<'k>(
        &self,
        owner: UserUuid,
        sort_keys: impl Iterator<Item = &'k SortKey>,
    ) -> Result<Option<GroupRow>, TableError> {
        for sort_key in sort_keys {
            let row = self.writer.table.row_at(owner, self.newest.group, sort_key).await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Replaces the newest known message if the table has a newer one. Used for groups with legacy rows, whose newest message may
    /// not come from the stream.
    async fn prefer_newest(&mut self) -> Result<(), TableError> {
        if let Some(newest) = self.writer.table.newest_message(self.newest.group, None).await?
            && newest.sort_key > self.newest.sort_key
        {
            self.to = newest.sort_key.clone();
            self.newest = newest;
        }
        Ok(())
    }

    /// Returns the membership of a group. If the group has none, it is a legacy group, and the membership is written with the
    /// participants that the rows name. `None` if there are no rows.
    async fn ensure_membership(&self, rows: &[GroupRow]) -> Result<Option<Membership>, TableError> {
        let group = self.newest.group;
        if let Some(membership) = self.writer.table.membership(group).await? {
            return Ok(Some(membership));
        }
        let Some(mut participants) = participants_of(rows) else { return Ok(None) };
        for participant in participants.iter_mut().filter(|it| *it.names == NameCopy::default()) {
            // No row has the names of this participant, but a message that they wrote has.
            if let Some(message) = self.writer.table.newest_message(group, Some(participant.uuid)).await? {
                participant.names = message.author.names;
            }
        }
        let membership = Membership { group, participants, is_legacy: true, version: 1 };
        self.writer.table.adopt_legacy_group(&membership).await?;
        self.writer.table.membership(group).await
    }
}
