//! Reconciling: recomputes group rows from the newest messages, where records were lost to the consumer.
//!
//! Each group is moved as if its newest message had just arrived, under the same conditions, so that it is safe beside
//! live traffic and can be cut off and begun again.

use std::collections::HashSet;

use super::effect::{Effect, EffectError, move_to};
use super::rows::GroupRows;
use crate::environment::Chance;
use crate::model::MessageGroupUuid;

/// What reconciling did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Groups looked at.
    pub groups: usize,
    /// Groups whose rows moved.
    pub moved: usize,
}

/// Reconciles one group.
pub async fn reconcile_group<R: GroupRows>(
    rows: &R,
    group: MessageGroupUuid,
    chance: &Chance,
) -> Result<Effect, EffectError> {
    match rows.newest_message(group, None).await? {
        Some(newest) => move_to(rows, &newest, chance).await,
        None => Ok(Effect::UpToDate),
    }
}

/// Reconciles all groups that have a row, telling how far it is after every page.
pub async fn reconcile_all<R: GroupRows>(
    rows: &R,
    chance: &Chance,
    mut progress: impl FnMut(Reconciled),
) -> Result<Reconciled, EffectError> {
    let mut done = Reconciled::default();
    let mut seen: HashSet<MessageGroupUuid> = HashSet::new();
    let mut from = None;
    loop {
        let (groups, next) = rows.groups(from).await?;
        for group in groups {
            if seen.insert(group) {
                done.groups += 1;
                done.moved += usize::from(reconcile_group(rows, group, chance).await? == Effect::Moved);
            }
        }
        progress(done);
        if next.is_none() {
            return Ok(done);
        }
        from = next;
    }
}
