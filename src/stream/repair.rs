//! The repair of gaps: after records of the stream were lost, all groups are [reconciled](super::reconcile), once for the
//! whole table.
//!
//! A reader that finds a gap writes a request for a repair to the consumer's table, and continues to read. One process
//! at a time holds the lease of the repair. It makes passes over all groups until a pass covers the last request:
//! - Requests are numbered. A pass covers the requests that were made before it began, because it looks at every group
//!   afterwards. A gap that is found during a pass needs another one: the groups before the position of the scan may lack
//!   its messages. Several gaps that are found before a pass begins need only this pass.
//! - The position of the scan is stored after each page, so another process continues where the last one stopped.
//! - The scan reads the index, which lags: a group whose rows are all being moved can be missing in it for a moment.
//!   This is harmless, because a reader has just moved them.
//! - The lease works like those of the [shards](super::lease): counter, epoch and step have the same meaning.

use std::future::Future;

use super::ids::LeaseOwner;
use super::lease::Condition;
use crate::messages_table::{ScanPosition, TableError};

/// The row of the repair in the consumer's table. The default value stands for a missing row: no repair was ever
/// requested.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repair {
    /// The process that holds the lease. `None` if the last holder has released it or if no process has taken it.
    pub owner: Option<LeaseOwner>,
    /// Increases with each change of the holder.
    pub epoch: u64,
    /// Increases with each write of a holder.
    pub counter: u64,
    /// Increases with each write of a holder that records progress of the repair.
    pub step: u64,
    /// Number of the last request.
    pub requested: u64,
    /// When that request was made, in milliseconds since 1970.
    pub requested_at: Option<i64>,
    /// The pass that has begun and is not finished.
    pub pass: Option<Pass>,
    /// The last finished pass.
    pub complete: Option<Complete>,
    /// Counts of the current pass so far. Between two passes: counts of the last one.
    pub tally: Tally,
}

/// A pass over all groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// The number of the last request that the pass covers.
    pub covers: u64,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// Where the scan continues. `None` if no page is finished.
    pub position: Option<ScanPosition>,
}

/// A finished pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The number of the last request that the pass covers.
    pub covers: u64,
    /// When the pass began, in milliseconds since 1970. The lists have all messages that were stored before this time,
    /// except messages of groups that were set aside.
    pub since: i64,
    /// When it was finished, in milliseconds since 1970.
    pub finished_at: i64,
}

/// Counts of a pass. A group whose rows are on two pages is counted twice if another process continues between the two
/// pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of groups that were checked.
    pub groups: u64,
    /// Number of groups whose rows moved.
    pub moved: u64,
    /// Number of groups that failed permanently and were set aside.
    pub failed: u64,
}

impl Repair {
    /// Whether there is a request that no finished pass covers.
    pub fn is_pending(&self) -> bool {
        self.requested > self.complete.as_ref().map_or(0, |complete| complete.covers)
    }

    /// Approximate time since which a repair has been pending, in milliseconds since 1970.
    pub fn pending_since(&self) -> Option<i64> {
        let begun = self.pass.as_ref().map(|pass| pass.started_at);
        begun.into_iter().chain(self.requested_at).min().filter(|_| self.is_pending())
    }

    /// Returns the number of the request to write for a gap that was found before this row was read. Returns `None` if
    /// no request is needed, because the pass of the last request has not begun and will check every group.
    pub fn next_request(&self) -> Option<u64> {
        let complete = self.complete.as_ref().map_or(0, |complete| complete.covers);
        let begun = self.pass.as_ref().map_or(complete, |pass| pass.covers.max(complete));
        (self.requested <= begun).then_some(self.requested + 1)
    }
}

/// What a write to the repair changes. Each write also increments the counter.
#[derive(Clone, Debug, PartialEq)]
pub enum RepairUpdate {
    /// A process takes the lease.
    Take {
        /// The new holder.
        owner: LeaseOwner,
        /// The new epoch.
        epoch: u64,
    },
    /// The holder renews the lease.
    Renew,
    /// A pass begins, or a page of it is finished, unless the holder has written a later step.
    Advance {
        /// The number of the step. A write that timed out can still arrive after a later one.
        step: u64,
        /// The pass.
        pass: Pass,
        /// What it has done.
        tally: Tally,
    },
    /// The pass is finished, unless the holder has written a later step.
    Finish {
        /// The number of the step.
        step: u64,
        /// The finished pass.
        complete: Complete,
        /// What it has done.
        tally: Tally,
    },
    /// The holder releases the lease.
    Release,
}

/// Storage of the repair. Implemented with DynamoDB, and by the simulator of the tests.
pub trait RepairTable: Send + Sync + 'static {
    /// Reads the row of the repair with strong consistency.
    fn repair(&self) -> impl Future<Output = Result<Repair, TableError>> + Send;
    /// Writes the request `number` unless another process has written it. Returns whether this call wrote it. In both
    /// cases, the request covers a gap that was found before `number` was read.
    fn request_repair(&self, number: u64, at: i64) -> impl Future<Output = Result<bool, TableError>> + Send;
    /// Writes to the repair if `condition` holds. Returns whether the condition held.
    fn write_repair(
        &self,
        condition: &Condition,
        update: &RepairUpdate,
    ) -> impl Future<Output = Result<bool, TableError>> + Send;
}

/// The lease of the repair, held by this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRepair {
    /// This process.
    pub owner: LeaseOwner,
    /// The epoch in which it took the lease.
    pub epoch: u64,
}

impl HeldRepair {
    /// Writes under the lease. Returns `false` if another process has the lease.
    pub async fn write<T: RepairTable>(&self, table: &T, update: &RepairUpdate) -> Result<bool, TableError> {
        let condition = Condition::HeldSince { owner: self.owner.clone(), epoch: self.epoch };
        table.write_repair(&condition, update).await
    }
}

/// Takes the lease of the repair if the row is still as in `seen`. Returns `None` if another process took the lease
/// first.
pub async fn take<T: RepairTable>(
    table: &T,
    seen: &Repair,
    owner: &LeaseOwner,
) -> Result<Option<HeldRepair>, TableError> {
    let held = HeldRepair { owner: owner.clone(), epoch: seen.epoch + 1 };
    let update = RepairUpdate::Take { owner: held.owner.clone(), epoch: held.epoch };
    if table.write_repair(&Condition::CounterIs(seen.counter), &update).await? {
        return Ok(Some(held));
    }
    // The condition can fail because of our own write, whose response was lost.
    let now = table.repair().await?;
    Ok((now.owner.as_ref() == Some(owner) && now.epoch == held.epoch).then_some(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(covers: u64) -> Option<Pass> {
        Some(Pass { covers, started_at: 20, position: None })
    }

    fn complete(covers: u64) -> Option<Complete> {
        Some(Complete { covers, since: 1, finished_at: 2 })
    }

    #[test]
    fn a_gap_needs_a_request_unless_one_waits_for_its_pass() {
        let repair = |requested, pass, complete| Repair { requested, pass, complete, ..Repair::default() };
        for (seen, is_pending, next) in [
            (repair(0, None, None), false, Some(1)),
            (repair(1, None, None), true, None),
            (repair(1, pass(1), None), true, Some(2)),
            (repair(2, pass(1), None), true, None),
            (repair(2, None, complete(1)), true, None),
            (repair(2, pass(2), complete(1)), true, Some(3)),
            (repair(2, None, complete(2)), false, Some(3)),
        ] {
            assert_eq!((seen.is_pending(), seen.next_request()), (is_pending, next), "{seen:?}");
        }
    }

    #[test]
    fn a_repair_is_pending_since_its_first_request_that_is_known() {
        let repair = |requested_at, pass, complete| {
            let requested_at = Some(requested_at);
            Repair { requested: 2, requested_at, pass, complete, ..Repair::default() }
        };
        assert_eq!(repair(10, pass(2), None).pending_since(), Some(10));
        assert_eq!(repair(30, pass(1), None).pending_since(), Some(20));
        assert_eq!(repair(30, None, complete(2)).pending_since(), None);
    }
}
