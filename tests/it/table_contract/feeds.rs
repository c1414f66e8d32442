//! Feeds: positions, and what several groups in one transaction share.

use cruddur_messaging::messages_table::feed::{FeedContent, FeedEntry, FeedHead};
use cruddur_messaging::messages_table::{Applied, GroupUpdate, MessagesTable, UpdateProblem};
use cruddur_messaging::stream::rows::GroupRows;

use super::{group, legacy_key, message, participant, put_of, row};
use crate::harness::World;
use crate::simulator::Part;

super::on_both!(
    messages_table,
    a_position_is_taken_once,
    a_taken_position_writes_nothing_of_the_transaction,
    the_problem_of_one_group_is_told_from_the_others,
    messages_are_counted_between_two_keys,
);

fn messages_table(world: &World) -> MessagesTable {
    world.table.clone()
}

/// Stores a message without conditions.
trait Store: GroupRows {
    async fn store(&self, author: u128, second: i64);
}

impl Store for MessagesTable {
    async fn store(&self, author: u128, second: i64) {
        assert!(self.put_message(&message(8, author, second)).await.expect("a message"));
    }
}

impl Store for Part {
    async fn store(&self, author: u128, second: i64) {
        self.world.lock().messages.entry(group(8)).or_default().push(message(8, author, second));
    }
}

fn entry(owner: u128, position: u64) -> FeedEntry {
    FeedEntry {
        owner: participant(owner).uuid,
        position,
        id: format!("entry {position}"),
        events: position,
        written_at: 7,
        expires_at: None,
        content: FeedContent::Reset(group(8)),
    }
}

fn head(position: u64) -> Option<FeedHead> {
    Some(FeedHead { position, events: position, id: format!("entry {position}") })
}

async fn a_position_is_taken_once<T: GroupRows>(table: &T) {
    let owner = participant(1).uuid;
    assert_eq!(table.feed_head(owner).await.expect("a head"), None);
    let both = [entry(1, 1), entry(1, 2), entry(2, 1)];
    assert_eq!(table.apply(&[], &both).await.expect("a transaction"), Applied::Done);
    assert_eq!(table.feed_head(owner).await.expect("a head"), head(2));
    let again = table.apply(&[], &[entry(2, 2), entry(1, 2)]).await.expect("a transaction");
    assert_eq!(again, Applied::Failed { groups: vec![], taken: vec![false, true] });
    assert_eq!(table.feed_head(participant(2).uuid).await.expect("a head"), head(1));
}

async fn a_taken_position_writes_nothing_of_the_transaction<T: GroupRows>(table: &T) {
    assert_eq!(table.apply(&[], &[entry(1, 1)]).await.expect("a transaction"), Applied::Done);
    let update = put_of(group(8), vec![row(8, 1, &legacy_key(1))]);
    let failed = table.apply(&[update], &[entry(1, 1)]).await.expect("a transaction");
    assert_eq!(failed, Applied::Failed { groups: vec![None], taken: vec![true] });
    assert_eq!(table.own_rows(participant(1).uuid, group(8)).await.expect("rows"), []);
}

async fn the_problem_of_one_group_is_told_from_the_others<T: GroupRows>(table: &T) {
    let key = legacy_key(1);
    let there = put_of(group(7), vec![row(7, 1, &legacy_key(5))]);
    assert_eq!(table.apply(&[there], &[]).await.expect("a transaction"), Applied::Done);
    let updates: Vec<GroupUpdate> = vec![
        put_of(group(8), vec![row(8, 1, &key), row(8, 2, &key)]),
        put_of(group(9), vec![row(9, 1, &legacy_key(5))]),
        GroupUpdate { delete: vec![row(6, 1, &legacy_key(6))], ..put_of(group(6), vec![row(6, 1, &legacy_key(7))]) },
        put_of(group(5), vec![row(5, 2, &legacy_key(8))]),
    ];
    let failed = table.apply(&updates, &[entry(1, 1)]).await.expect("a transaction");
    let groups = vec![None, Some(UpdateProblem::Taken), Some(UpdateProblem::Stale), None];
    assert_eq!(failed, Applied::Failed { groups, taken: vec![false] });
    assert_eq!(table.own_rows(participant(1).uuid, group(8)).await.expect("rows"), []);
    assert_eq!(table.feed_head(participant(1).uuid).await.expect("a head"), None);
}

/// The response of a transaction is lost, with all retries of the SDK. The next attempt finds that it is done.
async fn a_move_whose_response_is_lost_is_done_once<T: GroupRows>(table: &T, lose_responses: impl Fn(bool)) {
    let (from, to) = (legacy_key(1), legacy_key(2));
    let there = put_of(group(8), vec![row(8, 1, &from), row(8, 2, &from)]);
    assert_eq!(table.apply(&[there], &[]).await.expect("a transaction"), Applied::Done);
    let delete = vec![row(8, 1, &from), row(8, 2, &from)];
    let moved = GroupUpdate { delete, ..put_of(group(8), vec![row(8, 1, &to), row(8, 2, &to)]) };
    let entries = [entry(1, 1), entry(2, 1)];
    lose_responses(true);
    assert!(table.apply(std::slice::from_ref(&moved), &entries).await.is_err_and(|error| error.is_unavailable()));
    lose_responses(false);
    let again = table.apply(&[moved], &entries).await.expect("a transaction");
    assert_eq!(again, Applied::Failed { groups: vec![Some(UpdateProblem::Stale)], taken: vec![true, true] });
    for user in [1, 2] {
        let rows = table.own_rows(participant(user).uuid, group(8)).await.expect("rows");
        assert_eq!(rows.iter().map(|row| &row.sort_key).collect::<Vec<_>>(), [&to]);
        assert_eq!(table.feed_head(participant(user).uuid).await.expect("a head"), head(1));
    }
}

mod lost_responses {
    use super::super::lost_responses::{embedded, simulated};

    #[test]
    fn embedded_engine() {
        embedded(async |world, lose| {
            super::a_move_whose_response_is_lost_is_done_once(&world.table, |on| lose("TransactWriteItems", on)).await;
        });
    }

    #[test]
    fn simulated_tables() {
        simulated(async |part, lose| super::a_move_whose_response_is_lost_is_done_once(part, lose).await);
    }
}

async fn messages_are_counted_between_two_keys<T: Store>(table: &T) {
    for (author, second) in [(1, 1), (2, 2), (1, 3), (2, 4), (2, 5)] {
        table.store(author, second).await;
    }
    let key = |second| message(8, 1, second).sort_key;
    let count = async |after: Option<i64>, up_to: i64| {
        let after = after.map(key);
        table.count_messages(group(8), participant(2).uuid, after.as_ref(), &key(up_to)).await.expect("a count")
    };
    assert_eq!(count(None, 9).await, 3);
    assert_eq!(count(Some(2), 5).await, 2);
    assert_eq!(count(Some(4), 4).await, 0);
    assert_eq!(count(Some(5), 1).await, 0);
}
