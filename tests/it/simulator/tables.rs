//! The tables as one process of the simulated world sees them: leases, set-aside entries, rows.

use cruddur_messaging::messages_table::{
    GroupRow, Membership, Message, MoveOutcome, RowMove, ScanPosition, TableError,
};
use cruddur_messaging::model::{MessageGroupUuid, UserUuid};
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::{Checkpoint, Condition, Lease, LeaseTable, LeaseUpdate, NewLease};
use cruddur_messaging::stream::rows::GroupRows;
use cruddur_messaging::stream::set_aside::{SetAside, SetAsideTable};
use tokio::time::Instant;

use super::parts::{Part, sequence};
use super::world::{Outage, State};

impl LeaseTable for Part {
    async fn list(&self, _stream: &StreamArn) -> Result<Vec<Lease>, TableError> {
        self.table("Query", State::listed_leases).await
    }

    async fn get(&self, _stream: &StreamArn, shard: &ShardId) -> Result<Option<Lease>, TableError> {
        self.table("GetItem", |state| state.leases.get(shard).cloned()).await
    }

    async fn create(&self, _stream: &StreamArn, new: &NewLease) -> Result<(), TableError> {
        self.table("PutItem", |state| {
            state.leases.entry(new.shard.id.clone()).or_insert_with(|| Lease {
                shard: new.shard.id.clone(),
                parent: new.shard.parent.clone(),
                owner: None,
                epoch: 0,
                counter: 0,
                step: 0,
                checkpoint: new.is_behind_gap.then_some(Checkpoint::BehindGap),
                created_at: Some(new.created_at),
                handled_until: None,
            });
        })
        .await
    }

    async fn write(
        &self,
        _stream: &StreamArn,
        shard: &ShardId,
        condition: &Condition,
        update: &LeaseUpdate,
    ) -> Result<bool, TableError> {
        let (process, shard) = (self.process.clone(), shard.clone());
        let (condition, update) = (condition.clone(), update.clone());
        self.write_to_table("UpdateItem", move |state| {
            let Some(mut lease) = state.leases.get(&shard).cloned() else { return false };
            let holds = match &condition {
                Condition::CounterIs(counter) => lease.counter == *counter,
                Condition::HeldSince { owner, epoch } => {
                    let in_turn = !matches!(&update, LeaseUpdate::Advance { step, .. } if *step < lease.step);
                    lease.owner.as_ref() == Some(owner) && lease.epoch == *epoch && in_turn
                }
            };
            if !holds {
                return false;
            }
            lease.counter += 1;
            match &update {
                LeaseUpdate::Take { owner, epoch } => {
                    lease.owner = Some(owner.clone());
                    (lease.epoch, lease.step) = (*epoch, 0);
                }
                LeaseUpdate::Renew => {}
                LeaseUpdate::Advance { step, checkpoint, handled_until } => {
                    if lease.owner.as_deref() != Some(process.as_str()) {
                        state.violated(format!("{process} moved the checkpoint of {shard}, held by {:?}", lease.owner));
                    }
                    if lease.is_finished() && *checkpoint != Checkpoint::ShardEnd {
                        state.violated(format!("the checkpoint of {shard} went back from its end"));
                    }
                    lease.step = *step;
                    if let (Some(Checkpoint::At(before)), Checkpoint::At(after)) = (&lease.checkpoint, checkpoint)
                        && sequence(after) < sequence(before)
                    {
                        state.violated(format!("the checkpoint of {shard} went back from {before} to {after}"));
                    }
                    lease.checkpoint = Some(checkpoint.clone());
                    lease.handled_until = handled_until.or(lease.handled_until);
                }
                LeaseUpdate::Release => lease.owner = None,
            }
            state.leases.insert(shard, lease);
            true
        })
        .await
    }

    async fn last_stream(&self) -> Result<Option<StreamArn>, TableError> {
        self.table("GetItem", |state| state.last_stream.clone()).await
    }

    async fn note_stream(&self, stream: &StreamArn) -> Result<(), TableError> {
        self.table("PutItem", |state| state.last_stream = Some(stream.to_owned())).await
    }

    async fn remove(&self, _stream: &StreamArn, shard: &ShardId) -> Result<(), TableError> {
        self.table("DeleteItem", |state| drop(state.leases.remove(shard))).await
    }
}

impl SetAsideTable for Part {
    async fn put(&self, aside: &SetAside) -> Result<(), TableError> {
        self.table("PutItem", |state| {
            if state.aside.iter().all(|it| it.subject != aside.subject) {
                state.aside.push(aside.clone());
            }
        })
        .await
    }

    async fn list(&self) -> Result<Vec<SetAside>, TableError> {
        self.table("Query", |state| state.aside.clone()).await
    }

    async fn remove(&self, aside: &SetAside) -> Result<(), TableError> {
        self.table("DeleteItem", |state| state.aside.retain(|it| it != aside)).await
    }
}

impl GroupRows for Part {
    async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        self.table("Query", |state| {
            let now = Instant::now();
            let seen = state.index.iter().filter(|it| it.row.group == group && it.from <= now);
            seen.filter(|it| it.until.is_none_or(|until| now < until)).map(|it| it.row.clone()).collect()
        })
        .await
    }

    async fn own_rows(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        self.table("Query", |state| {
            state.rows.values().filter(|row| row.owner == user && row.group == group).cloned().collect()
        })
        .await
    }

    async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        self.table("GetItem", |state| state.memberships.get(&group).cloned()).await
    }

    async fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> Result<Option<Message>, TableError> {
        self.table("Query", |state| {
            let messages = state.messages.get(&group)?.iter();
            let messages = messages.filter(|it| author.is_none_or(|author| it.author.uuid == author));
            messages.max_by(|a, b| a.sort_key.cmp(&b.sort_key)).cloned()
        })
        .await
    }

    async fn groups(
        &self,
        _from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        self.table("Scan", |state| (state.rows.values().map(|row| row.group).collect(), None)).await
    }

    async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        self.table("PutItem", |state| {
            state.memberships.entry(membership.group).or_insert_with(|| membership.clone());
        })
        .await
    }

    async fn move_rows(&self, rows: &RowMove) -> Result<MoveOutcome, TableError> {
        let rows = rows.clone();
        self.write_to_table("TransactWriteItems", move |state| {
            let conflict = state.odds.conflict;
            if state.chance(conflict) || matches!(state.outage(), Some(Outage::Conflicts)) {
                return MoveOutcome::Conflict;
            }
            if rows.put.iter().any(|row| state.unreadable.contains_key(&(row.owner, row.sort_key.clone()))) {
                return MoveOutcome::Taken;
            }
            let there = rows.delete.iter().all(|(owner, key)| state.rows.contains_key(&(*owner, key.clone())));
            let occupant = rows.put.iter().find_map(|row| state.rows.get(&(row.owner, row.sort_key.clone())));
            if occupant.is_some_and(|row| rows.put.iter().all(|put| put.group != row.group)) {
                return MoveOutcome::Taken;
            }
            let version = rows.bump.as_ref().is_none_or(|bump| {
                state.memberships.get(&bump.group).is_some_and(|membership| membership.version == bump.version)
            });
            if !there || occupant.is_some() || !version {
                return MoveOutcome::Stale;
            }
            for (owner, key) in &rows.delete {
                state.delete_row(*owner, key);
            }
            for row in &rows.put {
                state.put_row(row.clone());
                let count = state.rows.values().filter(|it| it.owner == row.owner && it.group == row.group).count();
                if count != 1 {
                    state.violated(format!("{count} rows of {} in the list of {}", row.group, row.owner));
                }
            }
            if let Some(membership) = rows.bump.as_ref().and_then(|bump| state.memberships.get_mut(&bump.group)) {
                membership.version += 1;
            }
            MoveOutcome::Done
        })
        .await
    }
}
