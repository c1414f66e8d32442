//! The repair as one process of the simulated world sees it, and what must be true of it.

use std::collections::BTreeMap;

use cruddur_messaging::messages_table::{SortKey, TableError};
use cruddur_messaging::model::MessageGroupUuid;
use cruddur_messaging::stream::lease::Condition;
use cruddur_messaging::stream::repair::{Complete, Pass, Repair, RepairTable, RepairUpdate};
use cruddur_messaging::stream::set_aside::Subject;

use super::parts::Part;
use super::tables::KEY_OF_INDEX;
use super::world::State;

/// The newest messages of all groups when a request was made.
pub type Newest = BTreeMap<MessageGroupUuid, SortKey>;

impl RepairTable for Part {
    async fn repair(&self) -> Result<Repair, TableError> {
        self.table("GetItem", |state| state.repair.clone()).await
    }

    async fn request_repair(&self, number: u64, at: i64) -> Result<bool, TableError> {
        self.write_to_table("UpdateItem", move |state| {
            if number != state.repair.requested + 1 {
                return false;
            }
            state.repair.requested = number;
            state.repair.requested_at = Some(at);
            let groups: Vec<_> = state.rows.values().map(|row| row.group).collect();
            let newest = groups.into_iter().filter_map(|group| Some((group, state.newest(group)?.sort_key.clone())));
            let newest = newest.collect();
            state.newest_when_requested.insert(number, newest);
            true
        })
        .await
    }

    async fn write_repair(&self, condition: &Condition, update: &RepairUpdate) -> Result<bool, TableError> {
        let (process, condition, update) = (self.process.clone(), condition.clone(), update.clone());
        self.write_to_table("UpdateItem", move |state| {
            let mut repair = state.repair.clone();
            let holds = match &condition {
                Condition::CounterIs(counter) => repair.counter == *counter,
                Condition::HeldSince { owner, epoch } => {
                    repair.owner.as_ref() == Some(owner) && repair.epoch == *epoch && is_in_turn(&update, &repair)
                }
            };
            // Without a request, there is no item.
            if !holds || repair.requested == 0 {
                return false;
            }
            repair.counter += 1;
            match update {
                RepairUpdate::Take { owner, epoch } => {
                    repair.owner = Some(owner);
                    (repair.epoch, repair.step) = (epoch, 0);
                }
                RepairUpdate::Renew => {}
                RepairUpdate::Release => repair.owner = None,
                RepairUpdate::Advance { step, pass, tally } => {
                    check_holder(state, &process, &repair);
                    check_position(state, &repair, &pass);
                    if pass.position.is_none() {
                        state.hidden_in_pass.clear();
                    }
                    (repair.step, repair.pass, repair.tally) = (step, Some(pass), tally);
                }
                RepairUpdate::Finish { step, complete, tally } => {
                    check_holder(state, &process, &repair);
                    check_lists(state, &complete);
                    state.passes += 1;
                    (repair.step, repair.pass, repair.tally) = (step, None, tally);
                    repair.complete = Some(complete);
                }
            }
            state.repair = repair;
            true
        })
        .await
    }
}

fn is_in_turn(update: &RepairUpdate, repair: &Repair) -> bool {
    match update {
        RepairUpdate::Advance { step, .. } | RepairUpdate::Finish { step, .. } => *step >= repair.step,
        RepairUpdate::Take { .. } | RepairUpdate::Renew | RepairUpdate::Release => true,
    }
}

fn check_holder(state: &mut State, process: &str, repair: &Repair) {
    if repair.owner.as_deref() != Some(process) {
        state.violated(format!("{process} moved the repair on, which is held by {:?}", repair.owner));
    }
}

/// A pass that has finished a page does not look at the groups before it again.
fn check_position(state: &mut State, before: &Repair, after: &Pass) {
    let text = |pass: &Pass| {
        let key = pass.position.as_ref()?.key();
        Some(KEY_OF_INDEX.map(|name| key[name].as_s().expect("a string").clone()))
    };
    if let Some(pass) = &before.pass
        && (pass.covers, text(pass)) > (after.covers, text(after))
    {
        state.violated(format!("the repair went back from {pass:?} to {after:?}"));
    }
}

/// Every list has what was stored when the gap was found. A group that was moved during the scan has no row in the index for a
/// moment; it is compared at the end of the world.
fn check_lists(state: &mut State, complete: &Complete) {
    let needed = state.newest_when_requested.get(&complete.covers).cloned().unwrap_or_default();
    for (group, newest) in needed {
        let is_aside = state.aside.iter().any(|aside| aside.subject == Subject::Group(group));
        if is_aside || state.hidden_in_pass.contains(&group) {
            continue;
        }
        let participants = state.memberships.get(&group).map(|it| it.participants.clone());
        for owner in participants.into_iter().flatten() {
            let mut rows = state.rows.values().filter(|row| row.owner == owner.uuid && row.group == group);
            if rows.all(|row| row.sort_key < newest) {
                let what = format!("the repair {complete:?} left the row of {group} in the list of {}", owner.uuid);
                state.violated(format!("{what} behind {newest}"));
            }
        }
    }
}
