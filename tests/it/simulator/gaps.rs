//! Certain gaps, one after the other: worlds without random events.

use std::time::Duration;

use cruddur_messaging::model::MessageGroupUuid;
use cruddur_messaging::stream::lease::Checkpoint;
use tokio::time::Instant;
use uuid::Uuid;

use super::workload::{RETENTION, begin_group, compare_with_oracle, give_birth, is_at_rest, kill_all, message};
use super::world::{SimWorld, State};

/// For longer than any of these worlds takes.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Waits until `holds`, looking often enough to see every state of a lease.
async fn until(world: &SimWorld, what: &str, holds: impl Fn(&State) -> bool) {
    let begin = Instant::now();
    while !holds(&world.lock()) {
        assert!(begin.elapsed() < DEADLINE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A message in the group `number`, which is written now.
fn write(state: &mut State, number: u128, at: i64) {
    let message = message(state, number, at);
    state.store(message);
}

/// Runs for several times the retention without any writes, while shards follow each other. Returns the leases that were
/// treated as starting after a gap.
pub async fn silence() -> Vec<String> {
    let world = SimWorld::new(0);
    world.lock().odds.empty_page = 500;
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

/// Every shard gets a gap at once. A page of the repair takes so long that the repair lasts several times the retention, and
/// the process that repairs dies on the way. Meanwhile messages arrive.
pub async fn long_repair() -> State {
    const GROUPS: u128 = 12;
    let world = SimWorld::new(2);
    {
        let mut state = world.lock();
        for _ in 0..3 {
            state.open_shard(None, Duration::ZERO);
        }
        for number in 0..GROUPS {
            begin_group(&mut state, number, 0);
        }
    }
    give_birth(&world, 0, 1);
    until(&world, "the first rest", is_at_rest).await;
    kill_all(&world);
    for number in 0..GROUPS {
        write(&mut world.lock(), number, 10);
    }
    tokio::time::sleep(RETENTION * 2).await;
    world.lock().trim(RETENTION);
    world.lock().scan_time = RETENTION;
    give_birth(&world, 0, 2);
    until(&world, "a gap", |state| state.repair.is_pending()).await;
    let (begin, mut second) = (Instant::now(), 0_u32);
    while world.lock().repair.is_pending() {
        assert!(begin.elapsed() < DEADLINE, "the repair does not end");
        second += 1;
        {
            let mut state = world.lock();
            // Only some of the groups: the others have nothing but the repair.
            write(&mut state, u128::from(second % 3), 20 + i64::from(second));
            state.trim(RETENTION);
        }
        let has_begun = world.lock().repair.pass.as_ref().is_some_and(|pass| pass.position.is_some());
        if has_begun && world.lock().processes.contains_key("process-2") {
            kill_all(&world);
            give_birth(&world, 0, 3);
            give_birth(&world, 0, 4);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(begin.elapsed() > RETENTION * 2, "the repair took only {:?}", begin.elapsed());
    until(&world, "the last rest", is_at_rest).await;
    kill_all(&world);
    compare_with_oracle(&mut world.lock());
    world.into_state()
}

/// A shard closes, and its child gets a message. Long afterwards a process reads the parent to its end, with empty pages before
/// it, and dies. The message is trimmed before another process reads the child.
pub async fn end_that_is_read_late() -> State {
    let world = SimWorld::new(3);
    {
        let mut state = world.lock();
        state.open_shard(None, Duration::ZERO);
        begin_group(&mut state, 0, 0);
    }
    give_birth(&world, 0, 1);
    until(&world, "the first rest", is_at_rest).await;
    kill_all(&world);
    {
        let mut state = world.lock();
        state.shards[0].closed = true;
        let parent = state.shards[0].id.clone();
        state.open_shard(Some(parent), Duration::ZERO);
        write(&mut state, 0, 10);
        state.odds.empty_page = 900;
    }
    tokio::time::sleep(RETENTION * 3 / 4).await;
    give_birth(&world, 0, 2);
    let end = Some(Checkpoint::ShardEnd);
    until(&world, "the end", |state| state.leases.values().any(|lease| lease.checkpoint == end)).await;
    kill_all(&world);
    tokio::time::sleep(RETENTION / 2).await;
    world.lock().trim(RETENTION);
    give_birth(&world, 0, 3);
    until(&world, "the last rest", is_at_rest).await;
    kill_all(&world);
    let group = MessageGroupUuid(Uuid::from_u128(0));
    assert!(world.lock().messages[&group].len() == 2, "the group has a second message");
    compare_with_oracle(&mut world.lock());
    world.into_state()
}
