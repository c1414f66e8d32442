//! Adopts all groups of the legacy system: writes their pair and membership items, and then the marker. After the
//! marker is written, requests no longer search for legacy rows.
//!
//! A pass scans the index once and keeps the pair and the group of each legacy row in memory (about 150 bytes for each
//! group). The pass then knows all groups of each pair, so the cost is linear in the number of rows: about 3 read units
//! and 2 write units for each group that is not adopted, and 1 read unit for each adopted group. The command repeats
//! passes until a pass finds no group without membership. A group that an earlier pass has checked is not read again,
//! because memberships are never removed.
//!
//! All writes are conditional, so adoption can run at the same time as requests, the stream consumer, and other
//! adoptions. Its progress is not stored. After an interruption it starts again, and only checks the groups that are
//! already adopted.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex;

use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::{Consumed, GroupRow, Membership, MessagesTable, TableError};
use crate::model::{MessageGroupUuid, UserUuid};
use crate::report;

/// Number of pairs whose groups are adopted at the same time.
const CONCURRENT_PAIRS: usize = 8;
/// Maximum number of passes. If the legacy system still writes, each pass finds new groups.
const MAX_PASSES: usize = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Counts and results of an adoption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Number of passes.
    pub passes: usize,
    /// Number of rows that the current pass has read.
    pub rows: usize,
    /// Number of legacy groups that were checked.
    pub groups: usize,
    /// Number of groups that had no membership.
    pub adopted: usize,
    /// Malformed rows that the last pass found. The service cannot read these rows anyway, so the marker is written
    /// despite them.
    pub malformed: Vec<String>,
    /// Groups that cannot be adopted, with the reason. The marker is not written if there are any.
    pub failed: BTreeMap<MessageGroupUuid, String>,
    /// Whether the last pass found only groups with membership. If so, the marker is written.
    pub is_complete: bool,
}

/// Adopts groups.
pub struct Adopter<'a> {
    /// The table.
    pub table: &'a MessagesTable,
    /// Time and randomness, for waits.
    pub environment: &'a dyn Environment,
    /// Maximum number of attempts of a call that fails because of an outage.
    pub outage_tries: u32,
    /// Maximum number of read units, and of write units, per second.
    pub units_per_second: f64,
}

/// The two users of a conversation, in ascending order.
type Pair = [UserUuid; 2];

/// Why a group was not adopted.
enum Failure {
    /// This group cannot be adopted. Other groups can.
    Group(String),
    /// A call to DynamoDB failed.
    Call(TableError),
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Item(_) | TableError::Invalid { .. } => Self::Group(report(&error)),
            error => Self::Call(error),
        }
    }
}

impl Adopter<'_> {
    /// Adopts all groups and writes the marker. Calls `progress` after each page and each pair.
    ///
    /// # Errors
    /// Returns an error if a call failed because of an outage that did not end, or because of a permanent problem of
    /// all groups. A further run continues.
    pub async fn all(&self, mut progress: impl FnMut(&Adopted)) -> Result<Adopted, TableError> {
        let pace = Mutex::new(Pace::new(self.units_per_second, self.table.consumed(), self.environment.monotonic()));
        let mut done = Adopted::default();
        let mut checked = HashSet::new();
        while done.passes < MAX_PASSES && done.failed.is_empty() {
            done.passes += 1;
            let before = done.adopted;
            self.pass(&mut done, &mut checked, &pace, &mut progress).await?;
            if done.adopted == before && done.failed.is_empty() {
                let mark = async || self.table.put_marker(self.environment.now()).await.map_err(Failure::Call);
                done.is_complete = self.with_retries(mark).await?.is_ok();
                break;
            }
        }
        Ok(done)
    }

    async fn pass(
        &self,
        done: &mut Adopted,
        checked: &mut HashSet<MessageGroupUuid>,
        pace: &Mutex<Pace>,
        progress: &mut impl FnMut(&Adopted),
    ) -> Result<(), TableError> {
        let found = self.legacy_groups(done, checked, pace, progress).await?;
        let pairs = found.chunk_by(|(one, _), (other, _)| one == other);
        let pairs = stream::iter(pairs).map(|groups| {
            let groups: Vec<MessageGroupUuid> = groups.iter().map(|(_, group)| *group).collect();
            async move {
                pace.lock().await.wait(self.table.consumed(), self.environment).await;
                let mut unadopted = HashSet::new();
                let failed =
                    self.with_retries(async || self.adopt_groups_of_pair(&groups, &mut unadopted).await).await?;
                Ok::<_, TableError>((groups, unadopted.len(), failed))
            }
        });
        let mut pairs = pairs.buffer_unordered(CONCURRENT_PAIRS);
        while let Some((groups, unadopted, failed)) = pairs.try_next().await? {
            done.groups += groups.len();
            done.adopted += unadopted;
            match failed {
                Ok(failed) => done.failed.extend(failed),
                Err(reason) => done.failed.extend(groups.iter().map(|group| (*group, reason.clone()))),
            }
            checked.extend(groups);
            progress(done);
        }
        Ok(())
    }

    /// Scans the index. Returns the groups of legacy rows that are not checked yet, in the order of their pairs.
    async fn legacy_groups(
        &self,
        done: &mut Adopted,
        checked: &HashSet<MessageGroupUuid>,
        pace: &Mutex<Pace>,
        progress: &mut impl FnMut(&Adopted),
    ) -> Result<Vec<(Pair, MessageGroupUuid)>, TableError> {
        (done.rows, done.malformed) = (0, Vec::new());
        let mut found = Vec::new();
        let mut from = None;
        loop {
            pace.lock().await.wait(self.table.consumed(), self.environment).await;
            let scan = async || self.table.scan_rows(from.clone()).await.map_err(Failure::Call);
            // A scan never returns the failure of a group.
            let Ok((rows, next)) = self.with_retries(scan).await? else { break };
            done.rows += rows.len();
            for row in rows {
                match row {
                    Ok(row) if row.is_legacy() && !checked.contains(&row.group) => {
                        // The rows of a group are next to each other.
                        let entry = (pair_of(&row), row.group);
                        if found.last() != Some(&entry) {
                            found.push(entry);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => done.malformed.push(error.to_string()),
                }
            }
            progress(done);
            from = next;
            if from.is_none() {
                break;
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Adopts the legacy groups of a pair that are not adopted, and adds them to `unadopted`, which already contains
    /// those of earlier attempts. Returns the groups that cannot be adopted.
    async fn adopt_groups_of_pair(
        &self,
        groups: &[MessageGroupUuid],
        unadopted: &mut HashSet<MessageGroupUuid>,
    ) -> Result<BTreeMap<MessageGroupUuid, String>, Failure> {
        let mut failed = BTreeMap::new();
        let mut missing: Vec<Membership> = Vec::new();
        for group in groups {
            match self.missing_membership(*group).await {
                Ok(membership) => missing.extend(membership),
                Err(Failure::Group(reason)) => drop(failed.insert(*group, reason)),
                Err(failure) => return Err(failure),
            }
        }
        unadopted.extend(missing.iter().map(|membership| membership.group));
        let Some(first) = missing.first() else { return Ok(failed) };
        if self.table.group_of_pair(&first.participants).await?.is_none() {
            // No group of the pair is adopted, because the pair item is written first.
            let candidates: Vec<MessageGroupUuid> = missing.iter().map(|membership| membership.group).collect();
            let newest = self.table.newest_of_groups(&candidates).await?.unwrap_or(first.group);
            self.table.put_pair(&first.participants, newest).await?;
        }
        for membership in &missing {
            self.table.put_membership(membership).await?;
        }
        Ok(failed)
    }

    /// Returns the membership to write for a group, or `None` if the group has a membership.
    async fn missing_membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, Failure> {
        if self.table.membership(group).await?.is_some() {
            return Ok(None);
        }
        let rows = self.table.indexed_rows(group).await?;
        let Some(membership) = self.table.membership_of_rows(group, &rows).await? else {
            // A row that is being moved can be missing in the index. The membership is always written before a move.
            return match self.table.membership(group).await? {
                Some(_) => Ok(None),
                None => {
                    Err(Failure::Group("its rows have disappeared from the index; run the command again".to_owned()))
                }
            };
        };
        if let Some(odd) = rows.iter().find(|row| pair_of(row) != pair_of(&rows[0])) {
            let [one, other] = membership.participants.map(|participant| participant.uuid);
            return Err(Failure::Group(format!(
                "its rows name more than two users: {one}, {other}, and the row of {} names {}; delete the wrong row",
                odd.owner, odd.other.uuid
            )));
        }
        Ok(Some(membership))
    }

    /// Repeats a call during an outage. The inner error says why a group cannot be adopted.
    async fn with_retries<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, String>, TableError> {
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        let mut tries = 0;
        loop {
            match call().await {
                Ok(result) => return Ok(Ok(result)),
                Err(Failure::Group(reason)) => return Ok(Err(reason)),
                Err(Failure::Call(error)) => {
                    tries += 1;
                    if !error.is_unavailable() || tries >= self.outage_tries {
                        return Err(error);
                    }
                    tracing::warn!(error = report(&error), "an outage interrupted the adoption, retrying");
                }
            }
            tokio::time::sleep(backoff.next(self.environment)).await;
        }
    }
}

fn pair_of(row: &GroupRow) -> Pair {
    let (owner, other) = (row.owner, row.other.uuid);
    [owner.min(other), owner.max(other)]
}

/// Delays calls so that they consume at most `units_per_second`.
struct Pace {
    units_per_second: f64,
    consumed: Consumed,
    free_at: Instant,
}

impl Pace {
    fn new(units_per_second: f64, consumed: Consumed, now: Instant) -> Self {
        Self { units_per_second, consumed, free_at: now }
    }

    /// Waits as long as the units that were consumed since the last call require. `consumed` is the total so far.
    async fn wait(&mut self, consumed: Consumed, environment: &dyn Environment) {
        let units = (consumed.read - self.consumed.read).max(consumed.write - self.consumed.write);
        self.consumed = consumed;
        self.free_at += Duration::from_secs_f64(units.max(0.0) / self.units_per_second);
        tokio::time::sleep_until(self.free_at.into()).await;
        // After a slow call, the unused time does not permit a burst.
        self.free_at = self.free_at.max(environment.monotonic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::SystemEnvironment;

    #[tokio::test(start_paused = true)]
    async fn calls_are_spread_by_the_units_that_they_consume() {
        let environment = &SystemEnvironment;
        let begin = environment.monotonic();
        let mut pace = Pace::new(10.0, Consumed::default(), begin);
        let elapsed = || environment.monotonic() - begin;
        let consumed = |read, write| Consumed { read, write };
        pace.wait(consumed(0.0, 0.0), environment).await;
        assert_eq!(elapsed(), Duration::ZERO);
        pace.wait(consumed(5.0, 1.0), environment).await;
        assert!(elapsed() >= Duration::from_millis(500), "{:?}", elapsed());
        // 20 write units take two seconds.
        pace.wait(consumed(6.0, 21.0), environment).await;
        assert!(elapsed() >= Duration::from_millis(2500), "{:?}", elapsed());
        // After a call that takes a minute, the next units still take their time.
        tokio::time::advance(Duration::from_secs(60)).await;
        pace.wait(consumed(6.0, 21.0), environment).await;
        let before = elapsed();
        pace.wait(consumed(16.0, 21.0), environment).await;
        assert!(elapsed() - before >= Duration::from_secs(1));
        assert!(elapsed() < Duration::from_secs(65));
    }
}
