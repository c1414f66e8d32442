//! Processes of a version without feeds, as they are during a rolling upgrade. They read only leases that no other version has
//! taken, and their moves remove from the rows what was fed and read.

use std::time::Duration;

use cruddur_messaging::messages_table::items::to_message;
use cruddur_messaging::messages_table::{Fed, GroupRow, Membership, Message};
use cruddur_messaging::stream::ids::ShardId;
use cruddur_messaging::stream::lease::{Checkpoint, Lease, LeaseVersion};
use cruddur_messaging::stream::source::{Record, RecordChange};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::parts::{now_millis, sequence};
use super::workload::pair;
use super::world::{SimWorld, State};

/// How often a process reads its shards.
const READ_INTERVAL: Duration = Duration::from_millis(300);
/// After this time a process notices that it has lost a lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// Maximum number of records of a read.
const BATCH: usize = 5;

/// A lease that a process believes to hold.
struct Believed {
    shard: ShardId,
    epoch: u64,
    checked: Instant,
    checkpoint: Option<Checkpoint>,
}

/// Starts a process.
pub fn start(world: &SimWorld, name: &str) {
    let stop = CancellationToken::new();
    let (running, own_name, token) = (world.clone(), name.to_owned(), stop.clone());
    let task = tokio::spawn(async move {
        let mut held: Vec<Believed> = Vec::new();
        while !token.is_cancelled() {
            tokio::time::sleep(READ_INTERVAL).await;
            step(&mut running.lock(), &own_name, &mut held);
        }
        running.lock().processes.remove(&own_name);
    });
    world.lock().processes.insert(name.to_owned(), (task.abort_handle(), stop));
}

fn step(state: &mut State, name: &str, held: &mut Vec<Believed>) {
    let now = Instant::now();
    let listed: Vec<(ShardId, Option<ShardId>)> = state
        .shards
        .iter()
        .filter(|shard| shard.listed_from <= now && !shard.gone)
        .map(|shard| (shard.id.clone(), shard.parent.clone()))
        .collect();
    for (shard, parent) in listed {
        let since = parent.as_ref().and_then(|parent| state.leases.get(parent)?.complete_since());
        state.create_lease(
            &shard,
            parent.as_ref(),
            None,
            Some(since.unwrap_or_else(now_in_millis)),
            LeaseVersion::WithoutFeed,
        );
    }
    // A lease of the later version is malformed for this one: it neither takes it nor one of its children.
    let is_free = |state: &State, lease: &Lease| {
        let parent = lease.parent.as_ref().and_then(|parent| state.leases.get(parent));
        lease.version == LeaseVersion::WithoutFeed
            && !lease.is_finished()
            && lease.owner.is_none()
            && parent.is_none_or(|it| it.version == LeaseVersion::WithoutFeed && it.is_finished())
    };
    let free: Vec<ShardId> =
        state.leases.values().filter(|lease| is_free(state, lease)).map(|lease| lease.shard.clone()).collect();
    for shard in free {
        let Some(lease) = state.leases.get_mut(&shard) else { continue };
        (lease.owner, lease.epoch, lease.counter) = (Some(name.into()), lease.epoch + 1, lease.counter + 1);
        held.push(Believed { shard, epoch: lease.epoch, checked: now, checkpoint: lease.checkpoint.clone() });
    }
    held.retain_mut(|believed| {
        if believed.checked.elapsed() >= RENEW_INTERVAL {
            if !write(state, name, believed, |_| {}) {
                return false;
            }
            believed.checked = now;
        }
        read(state, name, believed)
    });
}

/// Writes to a lease under the condition of the earlier version.
fn write(state: &mut State, name: &str, believed: &Believed, change: impl FnOnce(&mut Lease)) -> bool {
    let lease = state.leases.get_mut(&believed.shard).filter(|lease| {
        lease.version == LeaseVersion::WithoutFeed
            && lease.owner.as_deref() == Some(name)
            && lease.epoch == believed.epoch
    });
    let Some(lease) = lease else { return false };
    lease.counter += 1;
    change(lease);
    true
}

/// Reads and applies one batch of a shard, and writes the checkpoint. Returns whether the process goes on with the shard.
fn read(state: &mut State, name: &str, believed: &mut Believed) -> bool {
    let Some(shard) = state.shards.iter().find(|shard| shard.id == believed.shard && !shard.gone) else { return false };
    let at = match &believed.checkpoint {
        Some(Checkpoint::At(number)) => {
            let is_before = |record: &Record| sequence(&record.sequence_number) <= sequence(number);
            shard.records.iter().take_while(|(_, record)| is_before(record)).count()
        }
        _ => 0,
    };
    if at < shard.trimmed {
        // A gap is left to the later version.
        return false;
    }
    let records: Vec<Record> = shard.records[at..].iter().take(BATCH).map(|(_, record)| record.clone()).collect();
    let is_end = shard.closed && at + records.len() == shard.records.len();
    let messages: Vec<Message> = records.iter().filter_map(message_of).collect();
    for message in &messages {
        apply(state, message);
    }
    if let Some(last) = records.last() {
        believed.checkpoint = Some(Checkpoint::At(last.sequence_number.clone()));
    }
    if is_end {
        believed.checkpoint = Some(Checkpoint::ShardEnd);
    }
    let checkpoint = believed.checkpoint.clone();
    let handled_until = records.is_empty().then(now_in_millis);
    let advance = |lease: &mut Lease| {
        lease.checkpoint = checkpoint;
        lease.handled_until = handled_until.or(lease.handled_until);
    };
    if write(state, name, believed, advance) {
        state.handled_without_feed.extend(messages.iter().map(|message| message.uuid));
        // The earlier version has set these aside.
        let inserted = records.iter().filter(|record| matches!(record.change, RecordChange::Inserted(_))).count();
        state.malformed -= inserted - messages.len();
    }
    !is_end
}

fn now_in_millis() -> i64 {
    i64::try_from(now_millis()).expect("a time")
}

fn message_of(record: &Record) -> Option<Message> {
    let RecordChange::Inserted(item) = &record.change else { return None };
    to_message(item).ok()
}

fn apply(state: &mut State, message: &Message) {
    let (number, group) = (message.group.0.as_u128(), message.group);
    let participants = pair(number);
    let [one, other] = participants.clone();
    for (owner, counterpart) in [(&one, &other), (&other, &one)] {
        let is_own = |row: &&GroupRow| row.owner == owner.uuid && row.group == group;
        let rows: Vec<GroupRow> = state.rows.values().filter(is_own).cloned().collect();
        let is_unreadable = state.unreadable.contains_key(&(owner.uuid, message.sort_key.clone()));
        if is_unreadable || rows.iter().any(|row| row.sort_key >= message.sort_key) {
            continue;
        }
        for row in rows {
            state.delete_row(owner.uuid, &row.sort_key);
        }
        state.put_row(GroupRow {
            owner: owner.uuid,
            group,
            other: counterpart.clone(),
            body: message.body.clone(),
            author: Some(message.author.uuid),
            sort_key: message.sort_key.clone(),
            fed: Fed::default(),
            reading: None,
        });
        state.marked.remove(&(owner.uuid, group));
    }
    state
        .memberships
        .entry(group)
        .or_insert(Membership { group, participants, is_legacy: true, version: 1 })
        .version += 1;
}
