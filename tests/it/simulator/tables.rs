//! The tables as one process of the simulated world sees them: leases, set-aside entries, rows.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use cruddur_messaging::messages_table::feed::{FeedEntry, FeedHead};
use cruddur_messaging::messages_table::{
    Applied, GroupRow, GroupUpdate, Membership, Message, ScanPosition, SortKey, TableError, UpdateProblem,
};
use cruddur_messaging::model::{MessageGroupUuid, UserUuid};
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::{Checkpoint, Condition, Lease, LeaseTable, LeaseUpdate, LeaseVersion, NewLease};
use cruddur_messaging::stream::rows::GroupRows;
use cruddur_messaging::stream::set_aside::{SetAside, SetAsideTable};
use cruddur_messaging::stream::source::Shard;
use rand::RngExt;

use super::parts::{Part, sequence};
use super::world::{Outage, State};

/// The key of the index, in the order of a scan, followed by the rest of the key of the table.
pub const KEY_OF_INDEX: [&str; 3] = ["message_group_uuid", "sk", "pk"];

fn key_of_index(row: &GroupRow) -> [String; 3] {
    [row.group.to_string(), row.sort_key.to_string(), format!("GRP#{}", row.owner)]
}

impl LeaseTable for Part {
    async fn list(&self, _stream: &StreamArn, consistent: bool) -> Result<Vec<Lease>, TableError> {
        let all = |state: &mut State| state.leases.values().cloned().collect();
        self.table("Query", if consistent { all } else { State::listed_leases }).await
    }

    async fn get(&self, _stream: &StreamArn, shard: &ShardId) -> Result<Option<Lease>, TableError> {
        self.table("GetItem", |state| state.leases.get(shard).cloned()).await
    }

    async fn create(&self, _stream: &StreamArn, new: &NewLease) -> Result<(), TableError> {
        self.table("PutItem", |state| {
            let Shard { id, parent, .. } = &new.shard;
            let checkpoint = new.is_behind_gap.then_some(Checkpoint::BehindGap);
            state.create_lease(id, parent.as_ref(), checkpoint, Some(new.created_at), LeaseVersion::WithFeed);
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
                    lease.version != LeaseVersion::WithoutFeed
                        && lease.owner.as_ref() == Some(owner)
                        && lease.epoch == *epoch
                        && in_turn
                }
            };
            if !holds {
                return false;
            }
            lease.counter += 1;
            match &update {
                LeaseUpdate::FinishUpgrade => lease.version = LeaseVersion::WithFeed,
                LeaseUpdate::Take { owner, epoch, is_upgrade } => {
                    lease.owner = Some(owner.clone());
                    (lease.epoch, lease.step) = (*epoch, 0);
                    if *is_upgrade {
                        lease.version = LeaseVersion::Upgrading;
                    }
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
        self.table("PutItem", |state| match state.aside.iter_mut().find(|it| it.subject == aside.subject) {
            Some(before) => *before = aside.clone(),
            None => state.aside.push(aside.clone()),
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
        self.table("Query", |state| state.indexed().filter(|row| row.group == group).cloned().collect()).await
    }

    async fn own_rows(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        self.table("Query", |state| {
            state.rows.values().filter(|row| row.owner == user && row.group == group).cloned().collect()
        })
        .await
    }

    async fn row_at(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
        sort_key: &SortKey,
    ) -> Result<Option<GroupRow>, TableError> {
        self.table("GetItem", |state| {
            state.rows.get(&(user, sort_key.clone())).filter(|row| row.group == group).cloned()
        })
        .await
    }

    async fn recent_sort_keys(&self, group: MessageGroupUuid) -> Result<Vec<SortKey>, TableError> {
        self.table("Query", |state| {
            let mut keys: Vec<SortKey> =
                state.messages.get(&group).into_iter().flatten().map(|message| message.sort_key.clone()).collect();
            keys.sort_by(|a, b| b.cmp(a));
            keys.truncate(3);
            keys
        })
        .await
    }

    async fn legacy_is_adopted(&self) -> Result<bool, TableError> {
        self.table("GetItem", |_| false).await
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

    /// Scans the index as it shows itself now. In some worlds a page takes long.
    async fn groups(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        let time = {
            let mut state = self.world.lock();
            let most = state.scan_time.as_millis();
            state.millis(u64::try_from(most).expect("a time"))
        };
        tokio::time::sleep(time).await;
        self.table("Scan", |state| {
            let size = state.random.random_range(1..=6);
            let after = from.as_ref().map(|position| position.key().clone());
            let after = after.map(|key| KEY_OF_INDEX.map(|name| key[name].as_s().expect("a string").clone()));
            let shown: BTreeSet<_> = state.indexed().map(|row| row.group).collect();
            let hidden = state.rows.values().map(|row| row.group).filter(|group| !shown.contains(group));
            let hidden: Vec<_> = hidden.collect();
            state.hidden_in_pass.extend(hidden);
            let mut rows: Vec<_> = state.indexed().map(|row| (key_of_index(row), row.group)).collect();
            rows.sort();
            rows.dedup();
            rows.retain(|(key, _)| Some(key) > after.as_ref());
            let more = rows.len() > size;
            rows.truncate(size);
            let position = |(key, _): &([String; 3], _)| {
                let attributes = KEY_OF_INDEX.into_iter().zip(key);
                let attribute = |(name, value): (&str, &String)| (name.to_owned(), AttributeValue::S(value.clone()));
                ScanPosition::from_key(attributes.map(attribute).collect())
            };
            let next = rows.last().filter(|_| more).map(position);
            (rows.into_iter().map(|(_, group)| group).collect(), next)
        })
        .await
    }

    async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        self.table("PutItem", |state| {
            state.memberships.entry(membership.group).or_insert_with(|| membership.clone());
        })
        .await
    }

    async fn count_messages(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
        after: Option<&SortKey>,
        up_to: &SortKey,
    ) -> Result<u64, TableError> {
        self.table("Query", |state| {
            let messages = state.messages.get(&group).into_iter().flatten();
            let in_range = |key: &SortKey| after.is_none_or(|after| key > after) && key <= up_to;
            messages.filter(|it| it.author.uuid == author && in_range(&it.sort_key)).count() as u64
        })
        .await
    }

    async fn feed_head(&self, owner: UserUuid) -> Result<Option<FeedHead>, TableError> {
        self.table("Query", |state| {
            let last = state.feeds.get(&owner)?.last()?;
            Some(FeedHead { position: last.position, events: last.events, id: last.id.clone() })
        })
        .await
    }

    async fn apply(&self, updates: &[GroupUpdate], entries: &[FeedEntry]) -> Result<Applied, TableError> {
        let (updates, entries) = (updates.to_vec(), entries.to_vec());
        self.write_to_table("TransactWriteItems", move |state| {
            let conflict = state.odds.conflict;
            if state.chance(conflict) || matches!(state.outage(), Some(Outage::Conflicts)) {
                return Applied::Conflict;
            }
            let groups: Vec<_> = updates.iter().map(|update| state.problem(update)).collect();
            let taken: Vec<_> = entries.iter().map(|entry| state.is_taken(entry)).collect();
            if groups.iter().any(Option::is_some) || taken.contains(&true) {
                return Applied::Failed { groups, taken };
            }
            for update in updates {
                state.write(update);
            }
            for entry in entries {
                state.feed(entry);
            }
            Applied::Done
        })
        .await
    }
}

impl State {
    /// Creates a lease, unless the shard has one.
    pub fn create_lease(
        &mut self,
        shard: &ShardId,
        parent: Option<&ShardId>,
        checkpoint: Option<Checkpoint>,
        created_at: Option<i64>,
        version: LeaseVersion,
    ) {
        if self.before_leases.is_none() {
            self.before_leases = Some(self.streamed.values().flatten().copied().collect());
        }
        self.leases.entry(shard.clone()).or_insert_with(|| Lease {
            shard: shard.clone(),
            parent: parent.cloned(),
            owner: None,
            epoch: 0,
            version,
            counter: 0,
            step: 0,
            checkpoint,
            created_at,
            handled_until: None,
        });
    }

    /// Why the rows of a group cannot be written, as DynamoDB's conditions say.
    fn problem(&self, update: &GroupUpdate) -> Option<UpdateProblem> {
        let at = |row: &GroupRow| (row.owner, row.sort_key.clone());
        if update.put.iter().any(|row| self.unreadable.contains_key(&at(row))) {
            return Some(UpdateProblem::Taken);
        }
        let occupants: Vec<&GroupRow> = update.put.iter().filter_map(|row| self.rows.get(&at(row))).collect();
        if occupants.iter().any(|row| row.group != update.group) {
            return Some(UpdateProblem::Taken);
        }
        let marker = |row: &GroupRow| row.reading.as_ref().and_then(|reading| reading.marker.clone());
        let mut read = update.delete.iter().chain(update.update.iter().map(|(before, _)| before));
        let is_unchanged = read.all(|row| {
            let now = self.rows.get(&at(row));
            now.is_some_and(|now| now.group == row.group && now.fed == row.fed && marker(now) == marker(row))
        });
        let is_version = update.bump.is_none_or(|version| {
            self.memberships.get(&update.group).is_some_and(|membership| membership.version == version)
        });
        (!is_unchanged || !occupants.is_empty() || !is_version).then_some(UpdateProblem::Stale)
    }

    fn is_taken(&self, entry: &FeedEntry) -> bool {
        self.feeds.get(&entry.owner).is_some_and(|feed| feed.iter().any(|it| it.position == entry.position))
    }

    fn write(&mut self, update: GroupUpdate) {
        for row in &update.delete {
            self.delete_row(row.owner, &row.sort_key);
        }
        for (before, after) in update.update {
            self.delete_row(before.owner, &before.sort_key);
            self.put_row(after);
        }
        for row in update.put {
            self.put_row(row.clone());
            let count = self.rows.values().filter(|it| it.owner == row.owner && it.group == row.group).count();
            if count != 1 {
                self.violated(format!("{count} rows of {} in the list of {}", row.group, row.owner));
            }
        }
        if let Some(membership) = update.bump.and_then(|_| self.memberships.get_mut(&update.group)) {
            membership.version += 1;
        }
    }

    fn feed(&mut self, entry: FeedEntry) {
        let feed = self.feeds.entry(entry.owner).or_default();
        let (next, events) = feed.last().map_or((1, 0), |last| (last.position + 1, last.events));
        let wrong = entry.position != next || entry.events != events + entry.content.events();
        let text = format!("entry {} of {} was put after {}", entry.position, entry.owner, next - 1);
        feed.push(entry);
        if wrong {
            self.violated(text);
        }
    }
}
