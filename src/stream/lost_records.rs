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
    is_pending: bool,
    /// The groups whose feeds this process has reset.
    reported: HashSet<MessageGroupUuid>,
}

impl LostRecords {
    /// Sets whether a repair is pending.
    pub fn repair_is_pending(&self, is_pending: bool) {
        let mut state = self.lock();
        state.is_pending = is_pending;
        if !is_pending {
            state.reported = HashSet::new();
        }
    }

    /// Whether the feeds of a group must be reset when the group moves.
    pub fn are_unreported(&self, group: MessageGroupUuid) -> bool {
        let state = self.lock();
        state.is_pending && !state.reported.contains(&group)
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
