//! What one process sees of the world: the seams of the consumer.

use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cruddur_messaging::environment::Environment;
use cruddur_messaging::messages_table::{
    GroupRow, Membership, Message, MoveOutcome, RowMove, ScanPosition, TableError,
};
use cruddur_messaging::model::{MessageGroupUuid, UserUuid};
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::{Checkpoint, Condition, Lease, LeaseTable, LeaseUpdate, NewLease};
use cruddur_messaging::stream::rows::GroupRows;
use cruddur_messaging::stream::set_aside::{SetAside, SetAsideTable};
use cruddur_messaging::stream::source::{Batch, Position, Shard, StreamError, StreamSource};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::world::{Outage, SimShard, SimWorld, State};

pub const STREAM: &str = "stream";
/// Iterators live shorter than in the field, as everything here does.
const ITERATOR_LIFE: Duration = Duration::from_secs(20);

/// One process in the world.
#[derive(Clone)]
pub struct Part {
    pub world: SimWorld,
    pub process: String,
}

enum Cut {
    Unavailable,
    Refused,
}

fn failed(operation: &'static str, cut: &Cut) -> TableError {
    let (code, source) = (None, "simulated".into());
    match cut {
        Cut::Unavailable => TableError::Unavailable { operation, code, source },
        Cut::Refused => TableError::Refused { operation, code, source },
    }
}

impl Part {
    /// A call: it takes a while, may be refused, may kill its caller before or after it is done, and its answer may get
    /// lost.
    async fn call<A>(&self, operation: &str, act: impl FnOnce(&mut State) -> A) -> Result<A, Cut> {
        let latency = self.world.lock().millis(15);
        tokio::time::sleep(latency).await;
        self.maybe_pause().await;
        self.maybe_crash().await;
        let answer = {
            let mut state = self.world.lock();
            match state.outage() {
                Some(Outage::Throttled(of)) if of == operation => return Err(Cut::Unavailable),
                Some(Outage::Refused(of)) if of == operation => return Err(Cut::Refused),
                _ => {}
            }
            let refused = state.odds.refused;
            if state.chance(refused) {
                return Err(Cut::Unavailable);
            }
            act(&mut state)
        };
        self.maybe_crash().await;
        let mut state = self.world.lock();
        let lost = state.odds.lost_answer;
        if state.chance(lost) { Err(Cut::Unavailable) } else { Ok(answer) }
    }

    /// A process that is paused makes no call, whichever of its tasks would.
    async fn maybe_pause(&self) {
        loop {
            let until = {
                let mut state = self.world.lock();
                let odds = state.odds.pause;
                if state.chance(odds) {
                    let until = Instant::now() + Duration::from_secs(5) + state.millis(20_000);
                    state.paused_until.insert(self.process.clone(), until);
                }
                state.paused_until.get(&self.process).copied().filter(|until| *until > Instant::now())
            };
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    async fn maybe_crash(&self) {
        let crashes = {
            let mut state = self.world.lock();
            let odds = state.odds.crash;
            let crashes = state.chance(odds);
            if crashes && let Some((process, _)) = state.processes.remove(&self.process) {
                process.abort();
            }
            crashes || !state.processes.contains_key(&self.process)
        };
        if crashes {
            pending::<()>().await;
        }
    }

    async fn table<A>(&self, operation: &'static str, act: impl FnOnce(&mut State) -> A) -> Result<A, TableError> {
        self.call(operation, act).await.map_err(|cut| failed(operation, &cut))
    }

    /// A write that may arrive long after its caller has given it up.
    async fn write_to_table<A: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> A + Send + 'static,
    ) -> Result<A, TableError> {
        let late = {
            let mut state = self.world.lock();
            let odds = state.odds.late;
            state.chance(odds).then(|| state.millis(40_000))
        };
        let Some(late) = late else { return self.table(operation, act).await };
        let world = self.world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            act(&mut world.lock());
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err(failed(operation, &Cut::Unavailable))
    }

    async fn streams<A>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> Result<A, StreamError>,
    ) -> Result<A, StreamError> {
        self.call(operation, act).await.unwrap_or_else(|cut| {
            let source = "simulated".into();
            Err(match cut {
                Cut::Unavailable => StreamError::Unavailable { operation, source },
                Cut::Refused => StreamError::Refused { operation, source },
            })
        })
    }
}

fn listed(state: &State, of: Option<&str>) -> Vec<Shard> {
    let now = Instant::now();
    let shards = state.shards.iter().filter(|it| it.listed_from <= now && !it.gone);
    let shards = shards.filter(|it| of.is_none() || it.parent.as_deref() == of);
    shards.map(|it| Shard { id: it.id.clone(), parent: it.parent.clone() }).collect()
}

fn there<'a>(state: &'a State, shard: &str, operation: &'static str) -> Result<&'a SimShard, StreamError> {
    state.shards.iter().find(|it| &*it.id == shard && !it.gone).ok_or(StreamError::Gone { operation })
}

fn sequence(text: &str) -> u64 {
    text.parse().expect("a sequence number")
}

impl StreamSource for Part {
    async fn stream(&self) -> Result<StreamArn, StreamError> {
        self.streams("DescribeTable", |_| Ok(STREAM.into())).await
    }

    async fn shards(&self, _stream: &StreamArn) -> Result<Vec<Shard>, StreamError> {
        self.streams("DescribeStream", |state| Ok(listed(state, None))).await
    }

    async fn children(&self, _stream: &StreamArn, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        // The filter for children of a shard that is no more is answered in either way.
        self.streams("DescribeStream", |state| {
            let is_there = there(state, parent, "DescribeStream").map(drop);
            if state.chance(500) {
                is_there?
            }
            Ok(listed(state, Some(parent)))
        })
        .await
    }

    async fn iterator(&self, _stream: &StreamArn, shard: &ShardId, position: &Position) -> Result<String, StreamError> {
        let made = Instant::now();
        self.streams("GetShardIterator", |state| {
            let found = there(state, shard, "GetShardIterator")?;
            let at = match position {
                Position::TrimHorizon => found.trimmed,
                Position::After(number) => {
                    found.records.iter().take_while(|(_, it)| sequence(&it.sequence_number) <= sequence(number)).count()
                }
            };
            if at < found.trimmed {
                return Err(StreamError::Trimmed);
            }
            Ok((shard.to_owned(), at))
        })
        .await
        .map(|(shard, at)| format!("{shard} {at} {}", made.elapsed().as_millis() + now_millis()))
    }

    async fn records(&self, iterator: &str) -> Result<Batch, StreamError> {
        self.streams("GetRecords", |state| {
            let parts: Vec<&str> = iterator.split(' ').collect();
            let at: usize = parts[1].parse().expect("a place");
            let made: u128 = parts[2].parse().expect("a time");
            if now_millis().saturating_sub(made) > ITERATOR_LIFE.as_millis() {
                return Err(StreamError::IteratorExpired);
            }
            let most = state.random.random_range(1..=12);
            let found = there(state, parts[0], "GetRecords")?;
            if at < found.trimmed {
                return Err(StreamError::Trimmed);
            }
            let records: Vec<_> = found.records[at..].iter().take(most).map(|(_, record)| record.clone()).collect();
            let behind = at + records.len();
            let ended = found.closed && behind == found.records.len();
            let next = (!ended).then(|| format!("{} {behind} {}", found.id, now_millis()));
            let parent = found.parent.clone().filter(|parent| there(state, parent, "").is_ok());
            let parent_done = parent.as_ref().is_none_or(|it| state.leases.get(it).is_none_or(Lease::is_finished));
            if !records.is_empty() && !parent_done {
                state.violated(format!("{} read records of {} before {parent:?} ended", self.process, parts[0]));
            }
            Ok(Batch { records, next })
        })
        .await
    }
}

/// Milliseconds of the virtual clock since the seed began.
fn now_millis() -> u128 {
    thread_local! {
        static BEGIN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
    }
    let now = Instant::now();
    let begin = BEGIN.with(|begin| begin.get().unwrap_or(now));
    // Another seed on this thread has a clock of its own; only differences count.
    BEGIN.with(|cell| cell.set(Some(begin)));
    now.saturating_duration_since(begin).as_millis()
}

/// The virtual clock as a wall clock.
pub struct VirtualEnvironment(Mutex<SmallRng>);

impl VirtualEnvironment {
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl Environment for VirtualEnvironment {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(i64::try_from(now_millis()).expect("a time")).expect("a time")
    }

    fn new_uuid(&self) -> uuid::Uuid {
        unreachable!("the consumer draws no uuids")
    }

    fn random(&self) -> f64 {
        self.0.lock().expect("the random source").random_range(0.0..1.0)
    }
}

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
