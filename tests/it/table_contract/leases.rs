//! Leases of shards, the repair and set-aside entries.

use cruddur_messaging::messages_table::ScanPosition;
use cruddur_messaging::messages_table::attributes::Item;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::ids::StreamArn;
use cruddur_messaging::stream::lease::{
    Checkpoint, Condition, Lease, LeaseTable, LeaseUpdate, LeaseVersion, NewLease, take as take_lease,
};
use cruddur_messaging::stream::repair::{Complete, Pass, Repair, RepairTable, RepairUpdate, Tally};
use cruddur_messaging::stream::set_aside::{SetAside, SetAsideTable, Subject};
use cruddur_messaging::stream::source::Shard;

use super::group;
use crate::harness::{TABLE, World};
use crate::simulator::PROCESS;

super::on_both!(
    consumer_table,
    a_lease_is_created_once,
    of_two_processes_that_take_a_lease_one_gets_it,
    only_the_holder_writes_to_a_lease,
    a_holder_of_an_earlier_epoch_does_not_write,
    a_checkpoint_that_arrives_late_is_ignored,
    a_lease_of_an_earlier_version_is_upgraded_by_its_holder,
    a_lease_that_was_removed_is_not_written,
    the_last_stream_is_noted,
    of_two_equal_requests_one_is_made,
    a_request_leaves_the_lease_and_the_pass_alone,
    of_two_processes_that_take_the_repair_one_gets_it,
    only_the_holder_of_the_current_epoch_moves_the_repair_on,
    a_step_of_the_repair_that_arrives_late_is_ignored,
    a_pass_is_read_as_it_was_written,
    a_repair_that_nobody_requested_is_not_written,
    an_entry_is_set_aside_once_and_removed,
);

fn consumer_table(world: &World) -> ConsumerTable {
    ConsumerTable::new(world.aws.dynamodb.clone(), TABLE)
}

fn stream() -> StreamArn {
    "stream".into()
}

/// The process that the simulator accepts as the holder.
fn mine(epoch: u64) -> Condition {
    Condition::HeldSince { owner: PROCESS.into(), epoch }
}

fn of_another(epoch: u64) -> Condition {
    Condition::HeldSince { owner: "another".into(), epoch }
}

async fn create<T: LeaseTable>(table: &T, created_at: i64, is_behind_gap: bool) {
    let shard = Shard { id: "shard".into(), parent: Some("parent".into()), is_open: true };
    table.create(&stream(), &NewLease { shard, created_at, is_behind_gap }).await.expect("a lease");
}

async fn lease<T: LeaseTable>(table: &T) -> Lease {
    table.get(&stream(), &"shard".into()).await.expect("a read").expect("a lease")
}

async fn write<T: LeaseTable>(table: &T, condition: Condition, update: LeaseUpdate) -> bool {
    table.write(&stream(), &"shard".into(), &condition, &update).await.expect("a write")
}

fn take(owner: &str, epoch: u64) -> LeaseUpdate {
    LeaseUpdate::Take { owner: owner.into(), epoch, is_upgrade: false }
}

fn advance(step: u64, handled_until: Option<i64>) -> LeaseUpdate {
    LeaseUpdate::Advance { step, checkpoint: Checkpoint::At(step.to_string().into()), handled_until }
}

async fn a_lease_is_created_once<T: LeaseTable>(table: &T) {
    create(table, 5, true).await;
    let created = lease(table).await;
    assert_eq!((created.created_at, &created.owner, created.counter), (Some(5), &None, 0));
    assert_eq!((created.parent.as_deref(), &created.checkpoint), (Some("parent"), &Some(Checkpoint::BehindGap)));
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    let taken = lease(table).await;
    create(table, 9, false).await;
    assert_eq!(lease(table).await, taken);
    assert_eq!(table.list(&stream(), true).await.expect("a list"), [taken]);
}

async fn of_two_processes_that_take_a_lease_one_gets_it<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    assert!(!write(table, Condition::CounterIs(0), take("another", 1)).await);
    let taken = lease(table).await;
    assert_eq!((taken.owner.as_deref(), taken.epoch, taken.counter), (Some(PROCESS), 1, 1));
}

/// The response of the write that takes a lease is lost. The next attempt finds that this process has the lease.
async fn a_lease_whose_response_is_lost_is_held<T: LeaseTable>(table: &T, lose_responses: impl Fn(bool)) {
    create(table, 5, false).await;
    let seen = lease(table).await;
    let attempt = async || take_lease(table, &stream(), &seen, &PROCESS.into()).await;
    lose_responses(true);
    let lost = attempt().await;
    lose_responses(false);
    let held = match lost {
        Ok(held) => held,
        Err(_) => attempt().await.expect("a read"),
    };
    assert_eq!(held.map(|held| held.epoch), Some(1));
    let now = lease(table).await;
    assert_eq!((now.owner.as_deref(), now.epoch, now.counter), (Some(PROCESS), 1, 1));
}

mod lost_responses {
    use super::super::lost_responses::{embedded, simulated};

    #[test]
    fn embedded_engine() {
        embedded(async |world, lose| {
            let table = super::consumer_table(world);
            super::a_lease_whose_response_is_lost_is_held(&table, |on| lose("UpdateItem", on)).await;
        });
    }

    #[test]
    fn simulated_tables() {
        simulated(async |part, lose| super::a_lease_whose_response_is_lost_is_held(part, lose).await);
    }
}

async fn only_the_holder_writes_to_a_lease<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    for update in [LeaseUpdate::Renew, advance(1, Some(7)), LeaseUpdate::Release] {
        assert!(!write(table, of_another(1), update).await);
    }
    assert!(write(table, mine(1), LeaseUpdate::Renew).await);
    assert!(write(table, mine(1), advance(1, Some(7))).await);
    assert!(write(table, mine(1), advance(2, None)).await);
    let held = lease(table).await;
    assert_eq!((held.counter, held.checkpoint, held.handled_until), (4, Some(Checkpoint::At("2".into())), Some(7)));
    assert!(write(table, mine(1), LeaseUpdate::Release).await);
    assert_eq!(lease(table).await.owner, None);
    assert!(!write(table, mine(1), LeaseUpdate::Renew).await, "it was handed over");
}

/// A process is paused, loses the lease, and gets it again.
async fn a_holder_of_an_earlier_epoch_does_not_write<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    assert!(write(table, Condition::CounterIs(1), take(PROCESS, 2)).await);
    let taken = lease(table).await;
    for update in [LeaseUpdate::Renew, advance(1, None), LeaseUpdate::Release] {
        assert!(!write(table, mine(1), update).await);
    }
    assert_eq!(lease(table).await, taken);
}

async fn a_checkpoint_that_arrives_late_is_ignored<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    assert!(write(table, mine(1), advance(2, None)).await);
    assert!(!write(table, mine(1), advance(1, None)).await);
    assert!(write(table, mine(1), advance(2, None)).await, "a repetition has no further effect");
    assert_eq!(lease(table).await.checkpoint, Some(Checkpoint::At("2".into())));
    // The next holder begins to count again.
    assert!(write(table, Condition::CounterIs(3), take(PROCESS, 2)).await);
    let end = LeaseUpdate::Advance { step: 1, checkpoint: Checkpoint::ShardEnd, handled_until: None };
    assert!(write(table, mine(2), end).await);
    assert!(lease(table).await.is_finished());
}

async fn a_lease_of_an_earlier_version_is_upgraded_by_its_holder<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert_eq!(lease(table).await.version, LeaseVersion::WithFeed);
    let upgrade = LeaseUpdate::Take { owner: "another".into(), epoch: 1, is_upgrade: true };
    assert!(write(table, Condition::CounterIs(0), upgrade).await);
    assert!(write(table, of_another(1), LeaseUpdate::Renew).await);
    assert!(write(table, Condition::CounterIs(2), take(PROCESS, 2)).await);
    assert_eq!(lease(table).await.version, LeaseVersion::Upgrading, "the next holder has to wait as well");
    assert!(!write(table, of_another(1), LeaseUpdate::FinishUpgrade).await);
    assert_eq!(lease(table).await.version, LeaseVersion::Upgrading);
    assert!(write(table, mine(2), LeaseUpdate::FinishUpgrade).await);
    assert_eq!(lease(table).await.version, LeaseVersion::WithFeed);
}

async fn a_lease_that_was_removed_is_not_written<T: LeaseTable>(table: &T) {
    create(table, 5, false).await;
    assert!(write(table, Condition::CounterIs(0), take(PROCESS, 1)).await);
    table.remove(&stream(), &"shard".into()).await.expect("a lease less");
    for update in [LeaseUpdate::Renew, advance(1, None), LeaseUpdate::Release] {
        assert!(!write(table, mine(1), update).await);
    }
    assert!(!write(table, Condition::CounterIs(1), take(PROCESS, 2)).await);
    assert_eq!(table.get(&stream(), &"shard".into()).await.expect("a read"), None);
}

async fn the_last_stream_is_noted<T: LeaseTable>(table: &T) {
    assert_eq!(table.last_stream().await.expect("a read"), None);
    for stream in ["one", "other"] {
        table.note_stream(&stream.into()).await.expect("a write");
        assert_eq!(table.last_stream().await.expect("a read"), Some(stream.into()));
    }
}

async fn repair<T: RepairTable>(table: &T) -> Repair {
    table.repair().await.expect("a read")
}

async fn request<T: RepairTable>(table: &T, number: u64, at: i64) -> bool {
    table.request_repair(number, at).await.expect("a request")
}

async fn write_repair<T: RepairTable>(table: &T, condition: Condition, update: RepairUpdate) -> bool {
    table.write_repair(&condition, &update).await.expect("a write")
}

fn take_repair(owner: &str, epoch: u64) -> RepairUpdate {
    RepairUpdate::Take { owner: owner.into(), epoch }
}

fn position(group: &str) -> ScanPosition {
    let attribute = |name: &str| (name.to_owned(), aws_sdk_dynamodb::types::AttributeValue::S(group.to_owned()));
    ScanPosition::from_key(["message_group_uuid", "sk", "pk"].map(attribute).into_iter().collect::<Item>())
}

/// Page `step` of a pass that covers the first request.
fn advance_repair(step: u64) -> RepairUpdate {
    let pass = Pass { covers: 1, started_at: 7, position: Some(position(&step.to_string())) };
    RepairUpdate::Advance { step, pass, tally: Tally { groups: step, ..Tally::default() } }
}

fn finish_repair(step: u64) -> RepairUpdate {
    let complete = Complete { covers: 1, since: 7, finished_at: 9 };
    RepairUpdate::Finish { step, complete, tally: Tally { groups: step, moved: 2, failed: 1 } }
}

async fn of_two_equal_requests_one_is_made<T: RepairTable>(table: &T) {
    assert_eq!(repair(table).await, Repair::default());
    assert!(request(table, 1, 10).await);
    assert!(!request(table, 1, 11).await);
    let requested = repair(table).await;
    assert_eq!((requested.requested, requested.requested_at, requested.is_pending()), (1, Some(10), true));
    assert!(request(table, 2, 20).await);
    for number in [1, 2, 4] {
        assert!(!request(table, number, 30).await, "{number}");
    }
    let requested = repair(table).await;
    assert_eq!((requested.requested, requested.requested_at), (2, Some(20)));
}

async fn a_request_leaves_the_lease_and_the_pass_alone<T: RepairTable>(table: &T) {
    assert!(request(table, 1, 10).await);
    assert!(write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    assert!(write_repair(table, mine(1), advance_repair(1)).await);
    let before = repair(table).await;
    assert!(request(table, 2, 20).await);
    assert_eq!(repair(table).await, Repair { requested: 2, requested_at: Some(20), ..before });
}

async fn of_two_processes_that_take_the_repair_one_gets_it<T: RepairTable>(table: &T) {
    assert!(request(table, 1, 10).await);
    assert!(write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    assert!(!write_repair(table, Condition::CounterIs(0), take_repair("another", 1)).await);
    let taken = repair(table).await;
    assert_eq!((taken.owner.as_deref(), taken.epoch, taken.counter), (Some(PROCESS), 1, 1));
}

async fn only_the_holder_of_the_current_epoch_moves_the_repair_on<T: RepairTable>(table: &T) {
    assert!(request(table, 1, 10).await);
    assert!(write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    assert!(write_repair(table, Condition::CounterIs(1), take_repair(PROCESS, 2)).await);
    let taken = repair(table).await;
    for condition in [of_another(2), mine(1)] {
        for update in [RepairUpdate::Renew, advance_repair(1), finish_repair(1), RepairUpdate::Release] {
            assert!(!write_repair(table, condition.clone(), update).await);
        }
    }
    assert_eq!(repair(table).await, taken);
    assert!(write_repair(table, mine(2), RepairUpdate::Renew).await);
    assert!(write_repair(table, mine(2), RepairUpdate::Release).await);
    assert_eq!(repair(table).await, Repair { owner: None, counter: 4, ..taken });
}

async fn a_step_of_the_repair_that_arrives_late_is_ignored<T: RepairTable>(table: &T) {
    assert!(request(table, 1, 10).await);
    assert!(write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    assert!(write_repair(table, mine(1), advance_repair(2)).await);
    assert!(!write_repair(table, mine(1), advance_repair(1)).await);
    assert!(!write_repair(table, mine(1), finish_repair(1)).await);
    assert!(write_repair(table, mine(1), advance_repair(2)).await, "a repetition has no further effect");
    assert!(write_repair(table, mine(1), finish_repair(3)).await);
    assert!(!write_repair(table, mine(1), advance_repair(2)).await);
    assert!(!repair(table).await.is_pending());
    // The next holder begins to count again.
    assert!(write_repair(table, Condition::CounterIs(4), take_repair(PROCESS, 2)).await);
    assert!(write_repair(table, mine(2), advance_repair(1)).await);
}

async fn a_pass_is_read_as_it_was_written<T: RepairTable>(table: &T) {
    assert!(request(table, 1, 10).await);
    assert!(write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    let begun = Pass { covers: 1, started_at: 7, position: None };
    let page = Pass { position: Some(position("group")), ..begun.clone() };
    let mut step = 0;
    for pass in [begun.clone(), page, begun] {
        step += 1;
        let tally = Tally { groups: 10 * step, moved: step, failed: 1 };
        assert!(write_repair(table, mine(1), RepairUpdate::Advance { step, pass: pass.clone(), tally }).await);
        let read = repair(table).await;
        assert_eq!((read.pass, read.tally, read.complete), (Some(pass), tally, None));
    }
    assert!(write_repair(table, mine(1), finish_repair(4)).await);
    let read = repair(table).await;
    assert_eq!((&read.pass, read.tally), (&None, Tally { groups: 4, moved: 2, failed: 1 }));
    assert_eq!(read.complete, Some(Complete { covers: 1, since: 7, finished_at: 9 }));
    assert_eq!((read.owner.as_deref(), read.is_pending()), (Some(PROCESS), false));
}

async fn a_repair_that_nobody_requested_is_not_written<T: RepairTable>(table: &T) {
    assert!(!write_repair(table, Condition::CounterIs(0), take_repair(PROCESS, 1)).await);
    for update in [RepairUpdate::Renew, advance_repair(1), finish_repair(1), RepairUpdate::Release] {
        assert!(!write_repair(table, mine(1), update).await);
    }
    assert_eq!(repair(table).await, Repair::default());
}

async fn an_entry_is_set_aside_once_and_removed<T: SetAsideTable>(table: &T) {
    let entry = |subject: Subject, reason: &str| SetAside {
        stream: stream(),
        subject,
        reason: reason.to_owned(),
        message_pk: "MSG#8".to_owned(),
        message_sk: String::new(),
        set_aside_at: "2026-11-22T10:42:39Z".to_owned(),
    };
    let (record, of_group) = (Subject::Record("100".into()), Subject::Group(group(8)));
    for aside in [entry(record.clone(), "first"), entry(of_group.clone(), "first"), entry(record.clone(), "second")] {
        table.put(&aside).await.expect("an entry");
    }
    let listed = table.list().await.expect("a list");
    assert_eq!(listed, [entry(record.clone(), "second"), entry(of_group.clone(), "first")]);
    table.remove(&listed[0]).await.expect("an entry less");
    assert_eq!(table.list().await.expect("a list"), [entry(of_group, "first")]);
}
