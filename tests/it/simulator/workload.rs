//! The events of a simulated world, and what must be true at its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::messages_table::items::from_message;
use cruddur_messaging::messages_table::{GroupRow, Membership, Message, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};
use cruddur_messaging::stream::Consumer;
use cruddur_messaging::stream::ids::ShardId;
use cruddur_messaging::stream::lease::Checkpoint;
use cruddur_messaging::stream::set_aside::Subject;
use cruddur_messaging::stream::source::RecordChange;
use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::parts::{Part, VirtualEnvironment};
use super::world::{Odds, Outage, SimShard, SimWorld, State};

const USERS: u128 = 5;
const PROCESSES: usize = 3;
/// The group with a malformed row.
const UNMENDABLE: u128 = 13;
/// The calls that an outage can affect.
const OPERATIONS: [&str; 10] = [
    "DescribeTable",
    "DescribeStream",
    "GetShardIterator",
    "GetRecords",
    "Query",
    "GetItem",
    "PutItem",
    "UpdateItem",
    "TransactWriteItems",
    "Scan",
];
const RETENTION: Duration = Duration::from_secs(60);
/// For how long no checkpoint may move before the world is at rest, when there are no more faults. Each generation of vanished
/// shards takes a minute: each of them is a gap, and the consumer waits for its children.
const PATIENCE: Duration = Duration::from_secs(400);

/// Runs one seed. Returns the violations.
pub async fn run(seed: u64) -> Vec<String> {
    let world = SimWorld::new(seed);
    populate(&mut world.lock());
    let mut born = 0;
    let steps = world.lock().random.random_range(20..60);
    let long_silence = world.lock().chance(150);
    for step in 0..steps {
        while world.lock().processes.len() < PROCESSES && (born < 2 || world.lock().chance(300)) {
            born += 1;
            give_birth(&world, seed, born);
        }
        if long_silence && step == steps / 2 {
            // No process consumes for longer than the stream keeps records.
            kill_all(&world);
            tokio::time::sleep(RETENTION + Duration::from_secs(30)).await;
        }
        let pause = {
            let mut state = world.lock();
            happen(&mut state, step);
            state.trim(RETENTION);
            if state.chance(100) { state.millis(15_000) } else { state.millis(800) }
        };
        tokio::time::sleep(pause).await;
    }
    {
        let mut state = world.lock();
        (state.odds, state.outage) = (Odds::default(), None);
    }
    let all_stop = world.lock().processes.values().all(|(_, stop)| stop.is_cancelled());
    if all_stop {
        give_birth(&world, seed, born + 1);
    }
    let checkpoints = |state: &State| -> Vec<_> { state.leases.values().map(|it| it.checkpoint.clone()).collect() };
    let (mut since, mut last) = (Instant::now(), checkpoints(&world.lock()));
    while !is_at_rest(&world.lock()) {
        let now = checkpoints(&world.lock());
        if now != last {
            (since, last) = (Instant::now(), now);
        }
        if since.elapsed() > PATIENCE {
            let mut state = world.lock();
            state.violated("never at rest");
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut state = world.lock();
    compare_with_oracle(&mut state);
    if !state.violations.is_empty() {
        let shards = describe(&state);
        state.violated(shards);
    }
    std::mem::take(&mut state.violations)
}

/// Runs for several times the retention without any writes, while shards follow each other. Returns the leases that were
/// treated as starting after a gap.
pub async fn silence() -> Vec<String> {
    let world = SimWorld::new(0);
    world.lock().open_shard(None, Duration::ZERO);
    give_birth(&world, 0, 1);
    let mut gaps = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(RETENTION / 4).await;
        let mut state = world.lock();
        let is_behind_gap = |checkpoint: &Option<Checkpoint>| {
            matches!(checkpoint, Some(Checkpoint::BehindGap | Checkpoint::TrimHorizon))
        };
        gaps.extend(state.leases.values().filter(|it| is_behind_gap(&it.checkpoint)).map(|it| format!("{it:?}")));
        state.trim(RETENTION);
        // One shard after the other, because this is not about shards that stay open.
        let open: Vec<usize> = (0..state.shards.len()).filter(|at| !state.shards[*at].closed).collect();
        for at in open {
            state.shards[at].closed = true;
            let parent = state.shards[at].id.clone();
            state.open_shard(Some(parent.clone()), Duration::ZERO);
            // A process can list the shards before another one has read the parent to its end.
            let child = state.shards.last().map(|shard| shard.id.clone()).expect("the child");
            let mut lease = state.leases[&parent].clone();
            lease.created_at = lease.complete_since();
            (lease.shard, lease.parent, lease.owner) = (child.clone(), Some(parent), None);
            (lease.epoch, lease.counter, lease.step) = (0, 0, 0);
            (lease.checkpoint, lease.handled_until) = (None, None);
            state.leases.insert(child, lease);
        }
    }
    let finished = world.lock().leases.values().filter(|lease| lease.is_finished()).count();
    if finished == 0 {
        gaps.push("no shard was ever finished".to_owned());
    }
    gaps
}

/// The shards and leases at the end, to investigate a violation.
fn describe(state: &State) -> String {
    let shard = |it: &SimShard| {
        let last = it.records.last().map(|(_, record)| &record.sequence_number);
        let SimShard { id, parent, closed, gone, trimmed, records, .. } = it;
        let count = records.len();
        format!("{id} of {parent:?}: closed {closed}, gone {gone}, {trimmed} of {count} trimmed, last {last:?}")
    };
    let shards: Vec<String> = state.shards.iter().map(shard).collect();
    let leases: Vec<String> = state.leases.values().map(|lease| format!("{lease:?}")).collect();
    format!("{}\n{}", shards.join("\n"), leases.join("\n"))
}

fn kill_all(world: &SimWorld) {
    for (_, (process, _)) in std::mem::take(&mut world.lock().processes) {
        process.abort();
    }
}

fn give_birth(world: &SimWorld, seed: u64, number: usize) {
    let process = format!("process-{number}");
    let part = Part { world: world.clone(), process: process.clone() };
    let environment = Arc::new(VirtualEnvironment::seeded(seed.wrapping_mul(31).wrapping_add(number as u64)));
    let consumer = Consumer::new(part.clone(), part.clone(), part, process.clone(), environment);
    let consumer = consumer.with_retention(RETENTION);
    let stop = CancellationToken::new();
    let (ending, name, token) = (world.clone(), process.clone(), stop.clone());
    let task = tokio::spawn(async move {
        Arc::new(consumer).run(token).await.expect("no reader panics");
        ending.lock().processes.remove(&name);
    });
    world.lock().processes.insert(process, (task.abort_handle(), stop));
}

fn participant(number: u128) -> Participant {
    let names = NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") };
    Participant { uuid: UserUuid(Uuid::from_u128(number)), names: names.into() }
}

fn time(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).expect("a time") + TimeDelta::zero()
}

/// The users of the group `number`. Each pair has one group.
fn pair(number: u128) -> [Participant; 2] {
    let one = number % USERS;
    [participant(one), participant((one + 1 + number / USERS % (USERS - 1)) % USERS)]
}

fn message(state: &mut State, group: u128, at: i64) -> Message {
    let uuid = MessageUuid(Uuid::from_u128(state.random.random()));
    let author = pair(group)[state.random.random_range(0..2)].clone();
    let created_at = time(at);
    let sort_key = SortKey::of_message(created_at, uuid);
    let group = MessageGroupUuid(Uuid::from_u128(group));
    Message { uuid, group, author, body: format!("{uuid}"), created_at, sort_key }
}

fn put_rows(state: &mut State, message: &Message, group: u128, of_legacy_system: bool) {
    let [one, other] = pair(group);
    for (owner, counterpart) in [(&one, &other), (&other, &one)] {
        state.put_row(GroupRow {
            owner: owner.uuid,
            group: message.group,
            other: counterpart.clone(),
            body: message.body.clone(),
            author: (!of_legacy_system).then_some(message.author.uuid),
            sort_key: message.sort_key.clone(),
        });
    }
}

fn begin_group(state: &mut State, number: u128, at: i64) {
    let first = message(state, number, at);
    let group = first.group;
    put_rows(state, &first, number, false);
    let participants = pair(number);
    state.memberships.insert(group, Membership { group, participants, is_legacy: false, version: 1 });
    state.store(first);
}

/// The world before the first process consumes: shards, and groups of both systems with the faults of the legacy system.
fn populate(state: &mut State) {
    for _ in 0..state.random.random_range(1..=2) {
        state.open_shard(None, Duration::ZERO);
    }
    for number in 0..3 {
        let first = message(state, number, -1000);
        let group = first.group;
        put_rows(state, &first, number, true);
        if state.chance(500) {
            // A row in one list only.
            let owner = pair(number)[0].uuid;
            state.delete_row(owner, &first.sort_key.clone());
        } else if state.chance(500) {
            // Two rows in one list.
            let older = message(state, number, -2000);
            let [one, other] = pair(number);
            let (owner, body, sort_key) = (one.uuid, older.body.clone(), older.sort_key.clone());
            state.put_row(GroupRow { owner, group, other, body, author: None, sort_key });
        }
        state.messages.entry(group).or_default().push(first);
        // Each of them gets a message, so that it is moved.
        let second = message(state, number, -500);
        state.store(second);
    }
    if state.chance(300) {
        // A malformed row: nothing can be put at its key, and no read returns it.
        let number = UNMENDABLE;
        let spoiled = message(state, number, -600);
        put_rows(state, &spoiled, number, false);
        let (group, owner) = (spoiled.group, pair(number)[0].uuid);
        state.delete_row(owner, &spoiled.sort_key.clone());
        state.unreadable.insert((owner, spoiled.sort_key.clone()), group);
        let participants = pair(number);
        state.memberships.insert(group, Membership { group, participants, is_legacy: false, version: 1 });
        state.messages.entry(group).or_default().push(spoiled);
    }
    // What the legacy system wrote has been in the index for years.
    state.index_lags = true;
    begin_group(state, 3, -400);
    begin_group(state, 4, -300);
    state.odds = Odds {
        refused: state.random.random_range(0..30),
        lost_answer: state.random.random_range(0..30),
        crash: state.random.random_range(0..6),
        pause: state.random.random_range(0..4),
        conflict: state.random.random_range(0..100),
        late: state.random.random_range(0..30),
    };
}

/// A random event.
fn happen(state: &mut State, step: i64) {
    match state.random.random_range(0..22) {
        20 => {
            let operation = OPERATIONS[state.random.random_range(0..OPERATIONS.len())];
            let outage = match state.random.random_range(0..3) {
                0 => Outage::Throttled(operation),
                1 => Outage::Refused(operation),
                _ => Outage::Conflicts,
            };
            let until = Instant::now() + state.millis(60_000);
            state.outage = Some((outage, until));
        }
        21 => {
            // A process is stopped in good order.
            let count = state.processes.len();
            let chosen = state.random.random_range(0..count.max(1));
            if let Some((_, stop)) = state.processes.values().nth(chosen) {
                stop.cancel();
            }
        }
        0..=1 => state.split(),
        2 => {
            let (number, at) = (5 + state.random.random_range(0..8), step * 10);
            if !state.memberships.contains_key(&MessageGroupUuid(Uuid::from_u128(number))) {
                begin_group(state, number, at);
            }
        }
        3 => {
            let odd = message(state, 4, step * 10);
            let mut item = from_message(&odd);
            item.remove("message");
            state.malformed += 1;
            state.append(odd.group, RecordChange::Inserted(item));
        }
        4 => {
            let group = MessageGroupUuid(Uuid::from_u128(4));
            state.append(group, RecordChange::Other);
        }
        _ => {
            // A burst of messages from servers whose clocks differ: some are late.
            let groups: Vec<u128> =
                state.messages.keys().map(|group| group.0.as_u128()).filter(|group| *group != UNMENDABLE).collect();
            for number in 0..state.random.random_range(1..6) {
                let group = groups[state.random.random_range(0..groups.len())];
                let at = step * 10 + number - if state.chance(200) { 15 } else { 0 };
                let message = message(state, group, at);
                state.store(message);
            }
        }
    }
}

/// Whether every shard is consumed completely.
fn is_at_rest(state: &State) -> bool {
    let consumed = |shard: &SimShard| {
        let checkpoint = state.leases.get(&shard.id).and_then(|lease| lease.checkpoint.as_ref());
        let unread = |after: u64| {
            let kept = shard.records.iter().skip(shard.trimmed);
            kept.map(|(_, record)| record.sequence_number.parse::<u64>()).any(|it| it.is_ok_and(|it| it > after))
        };
        match checkpoint {
            Some(Checkpoint::ShardEnd) => true,
            Some(Checkpoint::At(number)) => !shard.closed && !unread(number.parse().expect("a number")),
            Some(Checkpoint::TrimHorizon | Checkpoint::BehindGap) | None => !shard.closed && !unread(0),
        }
    };
    let is_there = |shard: &ShardId| state.shards.iter().any(|it| it.id == *shard && !it.gone);
    state.shards.iter().filter(|shard| !shard.gone).all(consumed)
        && state.leases.values().all(|lease| lease.is_finished() || is_there(&lease.shard))
}

fn compare_with_oracle(state: &mut State) {
    let groups: Vec<MessageGroupUuid> = state.messages.keys().copied().collect();
    for group in groups {
        let newest = state.newest(group).expect("a message").clone();
        for owner in pair(group.0.as_u128()) {
            let rows: Vec<GroupRow> =
                state.rows.values().filter(|row| row.owner == owner.uuid && row.group == group).cloned().collect();
            let right = rows.len() == 1 && rows[0].sort_key == newest.sort_key && rows[0].body == newest.body;
            if !right && !state.unreadable.contains_key(&(owner.uuid, newest.sort_key.clone())) {
                state.violated(format!(
                    "{} should have one row at {}, and has {rows:#?}",
                    owner.names.handle, newest.sort_key
                ));
            }
        }
    }
    let spoiled = Subject::Group(MessageGroupUuid(Uuid::from_u128(UNMENDABLE)));
    let (of_gaps, of_records): (Vec<_>, Vec<_>) =
        state.aside.iter().partition(|aside| matches!(aside.subject, Subject::Group(_)));
    let no_fault = of_records.iter().any(|aside| !aside.reason.contains("message"))
        || of_gaps.iter().any(|aside| aside.subject != spoiled);
    let aside = of_records.len();
    if no_fault {
        let aside = format!("{:?}", state.aside);
        state.violated(format!("set aside without a fault: {aside}"));
    }
    if aside > state.malformed || (aside < state.malformed && !state.has_trimmed) {
        state.violated(format!("{aside} set aside of {} malformed", state.malformed));
    }
}
