//! The groups whose feeds must be reset while a repair is pending, because records of them may be lost.
//!
//! The repair finds the groups by a scan of the index. A group that is being moved can be missing in the index, because the
//! index lags. So while a repair is pending, each process also resets the feeds of the groups that it moves, once for each
//! group.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::MessageGroupUuid;

/// Maximum number of groups that are remembered. If a group is forgotten, its feeds are reset once more.
const MAX_GROUPS: usize = 100_000;

/// Whether a repair is pending, and the groups whose feeds one process has reset since then.
#[derive(Debug, Default)]
pub struct LostRecords(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Number of the pending repair.
    pending: Option<u64>,
    /// The groups whose feeds this process has reset since this repair was requested.
    reported: HashSet<MessageGroupUuid>,
}

impl LostRecords {
    /// Sets the number of the pending repair, or `None`. A later repair was requested because of another gap, so the feeds must be
    /// reset again.
    pub fn repair_is_pending(&self, number: Option<u64>) {
        let mut state = self.lock();
        if state.pending != number {
            *state = State { pending: number, reported: HashSet::new() };
        }
    }

    /// Whether the feeds of a group must be reset when the group moves.
    pub fn are_unreported(&self, group: MessageGroupUuid) -> bool {
        let state = self.lock();
        state.pending.is_some() && !state.reported.contains(&group)
    }

    /// Records that the feeds of a group were reset.
    pub fn report(&self, group: MessageGroupUuid) {
        let mut state = self.lock();
        if state.reported.len() >= MAX_GROUPS {
            state.reported = HashSet::new();
        }
        state.reported.insert(group);
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_group_is_reported_once_for_each_repair() {
        let (lost_records, group) = (LostRecords::default(), MessageGroupUuid(Uuid::from_u128(7)));
        assert!(!lost_records.are_unreported(group));
        for repair in [1, 2] {
            lost_records.repair_is_pending(Some(repair));
            assert!(lost_records.are_unreported(group), "{repair}");
            lost_records.report(group);
            lost_records.repair_is_pending(Some(repair));
            assert!(!lost_records.are_unreported(group), "{repair}");
        }
        lost_records.repair_is_pending(None);
        assert!(!lost_records.are_unreported(group));
    }
}
