//! The events of a simulated world, and what must be true at its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::messages_table::feed::FeedContent;
use cruddur_messaging::messages_table::items::from_message;
use cruddur_messaging::messages_table::{Fed, GroupRow, Membership, Message, Reading, SortKey};
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

use super::earlier;
use super::parts::{Part, VirtualEnvironment, sequence};
use super::world::{Odds, Outage, SimShard, SimWorld, State};

const USERS: u128 = 5;
const PROCESSES: usize = 3;
/// Prefix of the names of processes of a version without feeds, and for how many steps they run beside the others.
const EARLIER: &str = "earlier-";
const EARLIER_STEPS: i64 = 10;
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
pub(super) const RETENTION: Duration = Duration::from_secs(60);
/// How long a page of a slow repair takes at most.
const SLOW_SCAN: Duration = Duration::from_secs(30);
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
    // In these worlds a repair takes longer than the stream keeps records, and meanwhile the stream cannot be read for as long.
    let slow_repair = world.lock().chance(250);
    if slow_repair {
        world.lock().scan_time = SLOW_SCAN;
    }
    // In these worlds processes of a version without feeds run before the others, and then beside them.
    let upgrade = {
        let mut state = world.lock();
        state.chance(200).then(|| state.random.random_range(0..steps / 2))
    };
    if upgrade.is_some() {
        (1..=2).for_each(|number| earlier::start(&world, &format!("{EARLIER}{number}")));
    }
    for step in 0..steps {
        if upgrade.is_some_and(|upgrade| step == upgrade + EARLIER_STEPS) {
            end_earlier(&world);
        }
        let is_upgraded = upgrade.is_none_or(|upgrade| step >= upgrade);
        while is_upgraded && world.lock().processes.len() < PROCESSES && (born < 2 || world.lock().chance(300)) {
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
            let is_long = if slow_repair { 400 } else { 100 };
            if state.chance(is_long) { state.millis(15_000) } else { state.millis(800) }
        };
        tokio::time::sleep(pause).await;
    }
    {
        let mut state = world.lock();
        (state.odds, state.outage) = (Odds::default(), None);
    }
    end_earlier(&world);
    let all_stop = world.lock().processes.values().all(|(_, stop)| stop.is_cancelled());
    if all_stop {
        give_birth(&world, seed, born + 1);
    }
    let progress = |state: &State| -> (Vec<_>, _) {
        (state.leases.values().map(|it| it.checkpoint.clone()).collect(), state.repair.pass.clone())
    };
    let (mut since, mut last) = (Instant::now(), progress(&world.lock()));
    while !is_at_rest(&world.lock()) {
        world.lock().trim(RETENTION);
        let now = progress(&world.lock());
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
    compare_feeds(&mut state);
    if !state.violations.is_empty() {
        let shards = describe(&state);
        state.violated(shards);
    }
    std::mem::take(&mut state.violations)
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

/// Ends the processes of the version without feeds.
fn end_earlier(world: &SimWorld) {
    world.lock().processes.retain(|name, (process, _)| {
        let is_earlier = name.starts_with(EARLIER);
        if is_earlier {
            process.abort();
        }
        !is_earlier
    });
}

pub(super) fn kill_all(world: &SimWorld) {
    for (_, (process, _)) in std::mem::take(&mut world.lock().processes) {
        process.abort();
    }
}

pub(super) fn give_birth(world: &SimWorld, seed: u64, number: usize) {
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
pub(super) fn pair(number: u128) -> [Participant; 2] {
    let one = number % USERS;
    [participant(one), participant((one + 1 + number / USERS % (USERS - 1)) % USERS)]
}

pub(super) fn message(state: &mut State, group: u128, at: i64) -> Message {
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
            fed: Fed::default(),
            reading: (!of_legacy_system)
                .then(|| Reading::of_new_group(message.author.uuid == owner.uuid, &message.sort_key)),
        });
    }
}

pub(super) fn begin_group(state: &mut State, number: u128, at: i64) {
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
            let (fed, reading) = (Fed::default(), None);
            state.put_row(GroupRow { owner, group, other, body, author: None, sort_key, fed, reading });
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
        empty_page: state.random.random_range(0..500),
    };
}

/// A random event.
fn happen(state: &mut State, step: i64) {
    let events = if state.scan_time.is_zero() { 24 } else { 25 };
    match state.random.random_range(0..events) {
        22..=23 => mark_read(state),
        24 => {
            // The stream cannot be read for longer than it keeps records, so every shard gets a gap.
            let until = Instant::now() + RETENTION + state.millis(40_000);
            state.outage = Some((Outage::Refused("GetRecords"), until));
        }
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

/// A participant marks a message as read, as the API does: on the condition that the row is as it was read.
fn mark_read(state: &mut State) {
    let rows: Vec<GroupRow> = state.rows.values().filter(|row| row.author.is_some()).cloned().collect();
    if rows.is_empty() {
        return;
    }
    let row = rows[state.random.random_range(0..rows.len())].clone();
    let messages = state.messages.get(&row.group).cloned().unwrap_or_default();
    let Some(message) = messages.get(state.random.random_range(0..messages.len().max(1))) else { return };
    let mut reading = row.reading.clone().unwrap_or_default();
    if reading.is_read(&message.sort_key) {
        return;
    }
    if message.sort_key >= row.sort_key {
        reading.mark_all(message.sort_key.clone());
    } else {
        reading.mark(message.sort_key.clone());
        let is_unread = |it: &&Message| {
            it.author.uuid != row.owner && it.sort_key > message.sort_key && it.sort_key <= row.sort_key
        };
        let unread = messages.iter().filter(is_unread).count() as u64;
        reading.count(unread, row.sort_key.clone());
    }
    state.marked.insert((row.owner, row.group), message.sort_key.clone());
    let row = GroupRow { reading: Some(reading), ..row };
    state.delete_row(row.owner, &row.sort_key.clone());
    state.put_row(row);
}

/// Each message that came through the stream is in the feeds of both participants once, or the feed has a reset of its group.
fn compare_feeds(state: &mut State) {
    // The rows of the other groups were never fed.
    let groups: Vec<MessageGroupUuid> = state.streamed.keys().copied().collect();
    for group in groups {
        for owner in pair(group.0.as_u128()) {
            let entries = state.feeds.get(&owner.uuid).map_or(&[] as &[_], Vec::as_slice);
            let mut fed: Vec<MessageUuid> = Vec::new();
            let mut is_reset = false;
            for entry in entries.iter().filter(|entry| entry.content.group() == group) {
                match &entry.content {
                    FeedContent::Messages(messages) => fed.extend(messages.messages.iter().map(|it| it.uuid)),
                    FeedContent::Reset(_) => is_reset = true,
                }
            }
            let mut once = fed.clone();
            once.sort();
            once.dedup();
            let mut problems = Vec::new();
            if once.len() != fed.len() {
                problems.push(format!("{} has messages of {group} twice: {fed:?}", owner.names.handle));
            }
            let committed: Vec<MessageUuid> = state.streamed.get(&group).cloned().unwrap_or_default();
            let is_missing = |uuid: &&MessageUuid| {
                !once.contains(uuid)
                    && !state.handled_without_feed.contains(uuid)
                    && state.before_leases.as_ref().is_some_and(|before| !before.contains(uuid))
            };
            let missing: Vec<_> = committed.iter().filter(is_missing).collect();
            if !missing.is_empty() && !is_reset {
                problems.push(format!("{} lacks messages of {group} without a reset: {missing:?}", owner.names.handle));
            }
            let is_complete = committed.iter().all(|uuid| once.contains(uuid));
            if is_complete && !is_reset {
                let row = state.rows.values().find(|row| row.owner == owner.uuid && row.group == group);
                let reading = row.and_then(|row| row.reading.clone()).unwrap_or_default();
                let is_unread = |it: &&Message| it.author.uuid != owner.uuid && !reading.is_read(&it.sort_key);
                let unread = state.messages[&group].iter().filter(is_unread).count() as u64;
                if unread != reading.unread() {
                    let name = &owner.names.handle;
                    problems.push(format!("{name} has {unread} unread messages in {group}, and {reading:?}"));
                }
                let marked = state.marked.get(&(owner.uuid, group));
                if marked.is_some_and(|key| !reading.is_read(key)) {
                    problems.push(format!("the read marker of {} in {group} went back", owner.names.handle));
                }
            }
            for problem in problems {
                state.violated(problem);
            }
        }
    }
}

/// Whether every shard is consumed completely, and no repair is pending.
pub(super) fn is_at_rest(state: &State) -> bool {
    let consumed = |shard: &SimShard| {
        let checkpoint = state.leases.get(&shard.id).and_then(|lease| lease.checkpoint.as_ref());
        match checkpoint {
            Some(Checkpoint::ShardEnd) => true,
            // If a later record was trimmed, there is a gap that was not found yet.
            Some(Checkpoint::At(number)) => {
                let last = shard.records.last().map(|(_, record)| sequence(&record.sequence_number));
                !shard.closed && last <= Some(sequence(number))
            }
            Some(Checkpoint::BehindGap) => false,
            Some(Checkpoint::TrimHorizon) | None => !shard.closed && shard.read_to_end,
        }
    };
    let is_there = |shard: &ShardId| state.shards.iter().any(|it| it.id == *shard && !it.gone);
    state.shards.iter().filter(|shard| !shard.gone).all(consumed)
        && state.leases.values().all(|lease| lease.is_finished() || is_there(&lease.shard))
        && !state.repair.is_pending()
}

pub(super) fn compare_with_oracle(state: &mut State) {
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
