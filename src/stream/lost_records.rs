//! The groups of which records may be lost, while a repair is pending.
//!
//! The repair finds the groups by scanning the index. A group that moves at that moment can be missing in the index, because the
//! index lags. So each process also resets the feeds of the groups that it moves while a repair is pending, once for each group.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::MessageGroupUuid;

/// Maximum number of groups that are remembered. Groups that are forgotten are reset once more.
const MAX_GROUPS: usize = 100_000;

/// What one process knows.
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

    /// Whether the feeds of a group still have to be reset when the group moves.
    pub fn are_unreported(&self, group: MessageGroupUuid) -> bool {
        let state = self.lock();
        state.is_pending && !state.reported.contains(&group)
    }

    /// The feeds of a group were reset.
    pub fn report(&self, group: MessageGroupUuid) {
        let mut state = self.lock();
        if state.reported.len() >= MAX_GROUPS {
            state.reported = HashSet::new();
        }
        state.reported.insert(group);
    }

    /// A panic while the lock is held leaves no half-done change behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
