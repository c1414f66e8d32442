//! Rows and memberships.

use std::collections::HashSet;

use cruddur_messaging::messages_table::UpdateProblem::{self, Stale, Taken};
use cruddur_messaging::messages_table::{
    Fed, GroupRow, GroupUpdate, Message, MessagesTable, Reading, ScanPosition, SortKey,
};
use cruddur_messaging::model::MessageGroupUuid;
use cruddur_messaging::stream::rows::GroupRows;

use super::{apply, group, legacy_key, membership, message, participant, put_of, reading, row};
use crate::harness::World;
use crate::simulator::Part;

super::on_both!(
    messages_table,
    a_move_replaces_the_rows_of_both_participants,
    a_missing_row_is_not_deleted_and_nothing_is_put,
    a_row_of_another_group_at_the_same_key_is_not_deleted,
    a_row_of_another_group_is_not_overwritten,
    a_row_of_the_same_group_is_not_overwritten,
    a_row_that_was_fed_or_read_meanwhile_is_not_replaced,
    a_row_that_stays_where_it_is_keeps_its_other_attributes,
    a_missing_row_is_put_once_under_a_version,
    a_missing_row_is_not_put_without_a_membership,
    adopting_again_does_not_take_the_version_back,
    the_newest_message_is_found_and_that_of_an_author,
    the_pages_of_groups_have_each_group_in_one_piece,
);

fn messages_table(world: &World) -> MessagesTable {
    world.table.clone()
}

/// What the tests write without conditions.
trait Store: GroupRows {
    async fn store(&self, message: Message);
}

impl Store for MessagesTable {
    async fn store(&self, message: Message) {
        assert!(self.put_message(&message).await.expect("a message"));
    }
}

impl Store for Part {
    async fn store(&self, message: Message) {
        self.world.lock().messages.entry(message.group).or_default().push(message);
    }
}

/// Puts rows of one group at keys that are free.
async fn put<T: GroupRows>(table: &T, rows: Vec<GroupRow>) {
    assert_eq!(apply(table, put_of(rows[0].group, rows)).await, None);
}

/// Moves the row of `of` in the list of user 1.
async fn move_row<T: GroupRows>(table: &T, of: u128, from: &SortKey, to: &SortKey) -> Option<UpdateProblem> {
    let delete = vec![row(of, 1, from)];
    apply(table, GroupUpdate { delete, ..put_of(group(of), vec![row(of, 1, to)]) }).await
}

/// Puts a row of group 8 that was found missing under `version`.
async fn put_missing<T: GroupRows>(table: &T, owner: u128, second: i64, version: u64) -> Option<UpdateProblem> {
    let put = vec![row(8, owner, &legacy_key(second))];
    apply(table, GroupUpdate { bump: Some(version), ..put_of(group(8), put) }).await
}

/// The keys of the rows of a group in the list of user 1.
async fn keys<T: GroupRows>(table: &T, of: u128) -> Vec<SortKey> {
    let rows = table.own_rows(participant(1).uuid, group(of)).await.expect("rows");
    rows.into_iter().map(|row| row.sort_key).collect()
}

async fn version<T: GroupRows>(table: &T) -> Option<u64> {
    table.membership(group(8)).await.expect("a read").map(|membership| membership.version)
}

async fn a_move_replaces_the_rows_of_both_participants<T: GroupRows>(table: &T) {
    let (old, new) = (legacy_key(1), legacy_key(2));
    put(table, vec![row(8, 1, &old), row(8, 2, &old)]).await;
    let delete = [1, 2].map(|owner| row(8, owner, &old)).to_vec();
    let moved = GroupUpdate { delete, ..put_of(group(8), [1, 2].map(|owner| row(8, owner, &new)).to_vec()) };
    assert_eq!(apply(table, moved.clone()).await, None);
    for owner in [1, 2] {
        let rows = table.own_rows(participant(owner).uuid, group(8)).await.expect("rows");
        assert_eq!(rows, [row(8, owner, &new)]);
    }
    let mut indexed = table.indexed_rows(group(8)).await.expect("rows");
    indexed.sort_by_key(|row| row.owner);
    assert_eq!(indexed, [row(8, 1, &new), row(8, 2, &new)]);
    // The same move again, as after a lost response.
    assert_eq!(apply(table, moved).await, Some(Stale));
}

async fn a_missing_row_is_not_deleted_and_nothing_is_put<T: GroupRows>(table: &T) {
    assert_eq!(move_row(table, 8, &legacy_key(1), &legacy_key(2)).await, Some(Stale));
    assert_eq!(keys(table, 8).await, []);
}

/// An index that lags shows a row of group 8 at a key at which group 9 has a row meanwhile.
async fn a_row_of_another_group_at_the_same_key_is_not_deleted<T: GroupRows>(table: &T) {
    let key = legacy_key(1);
    put(table, vec![row(9, 1, &key)]).await;
    assert_eq!(move_row(table, 8, &key, &legacy_key(2)).await, Some(Stale));
    assert_eq!((keys(table, 9).await, keys(table, 8).await), (vec![key], vec![]));
}

async fn a_row_of_another_group_is_not_overwritten<T: GroupRows>(table: &T) {
    let (old, used) = (legacy_key(1), legacy_key(2));
    put(table, vec![row(8, 1, &old)]).await;
    put(table, vec![row(9, 1, &used)]).await;
    assert_eq!(move_row(table, 8, &old, &used).await, Some(Taken));
    assert_eq!((keys(table, 8).await, keys(table, 9).await), (vec![old], vec![used]));
}

async fn a_row_of_the_same_group_is_not_overwritten<T: GroupRows>(table: &T) {
    let key = legacy_key(1);
    put(table, vec![row(8, 1, &key)]).await;
    let put = vec![row(8, 2, &key), GroupRow { body: "other".to_owned(), ..row(8, 1, &key) }];
    assert_eq!(apply(table, put_of(group(8), put)).await, Some(Stale));
    let own = async |owner: u128| table.own_rows(participant(owner).uuid, group(8)).await.expect("rows");
    assert_eq!((own(1).await, own(2).await), (vec![row(8, 1, &key)], vec![]));
}

/// Each of these states is in the table, and each is what a writer has read.
fn states(of: u128) -> [GroupRow; 5] {
    let key = legacy_key(1);
    let fed = |text: &str| Fed::read(text).expect("positions");
    let with = |fed: Fed, reading: Option<Reading>| GroupRow { fed, reading, ..row(of, 1, &key) };
    [
        with(Fed::default(), None),
        with(Fed::default(), Some(reading(0, Some(&key)))),
        with(fed("a=1"), Some(reading(1, None))),
        with(fed("a=2"), Some(reading(1, None))),
        with(fed("a=2"), Some(reading(1, Some(&legacy_key(2))))),
    ]
}

async fn a_row_that_was_fed_or_read_meanwhile_is_not_replaced<T: GroupRows>(table: &T) {
    let to = legacy_key(9);
    for (index, stored) in states(8).into_iter().enumerate() {
        put(table, vec![stored.clone()]).await;
        for seen in states(8).into_iter().filter(|seen| *seen != stored) {
            let delete = GroupUpdate { delete: vec![seen.clone()], ..put_of(group(8), vec![row(8, 1, &to)]) };
            assert_eq!(apply(table, delete).await, Some(Stale), "{index}: {seen:?}");
            let update = vec![(seen.clone(), GroupRow { fed: Fed::read("a=3").expect("a position"), ..seen.clone() })];
            assert_eq!(apply(table, GroupUpdate { update, ..put_of(group(8), vec![]) }).await, Some(Stale), "{seen:?}");
        }
        let own = table.own_rows(participant(1).uuid, group(8)).await.expect("rows");
        assert_eq!(own, std::slice::from_ref(&stored));
        assert_eq!(apply(table, GroupUpdate { delete: vec![stored], ..put_of(group(8), vec![]) }).await, None);
    }
}

async fn a_row_that_stays_where_it_is_keeps_its_other_attributes<T: GroupRows>(table: &T) {
    let mut before = states(8).into_iter().next().expect("a state");
    put(table, vec![before.clone()]).await;
    for after in states(8).into_iter().skip(1) {
        let after = GroupRow { body: before.body.clone(), ..after };
        let update = vec![(before.clone(), after.clone())];
        assert_eq!(apply(table, GroupUpdate { update, ..put_of(group(8), vec![]) }).await, None);
        let own = table.own_rows(participant(1).uuid, group(8)).await.expect("rows");
        assert_eq!(own, std::slice::from_ref(&after));
        before = after;
    }
}

async fn a_missing_row_is_put_once_under_a_version<T: GroupRows>(table: &T) {
    table.adopt_legacy_group(&membership(8)).await.expect("a membership");
    assert_eq!(version(table).await, Some(1));
    assert_eq!(put_missing(table, 1, 1, 1).await, None);
    assert_eq!(version(table).await, Some(2));
    // Another writer read the same version, and found both rows missing.
    assert_eq!(put_missing(table, 1, 2, 1).await, Some(Stale));
    assert_eq!((keys(table, 8).await, version(table).await), (vec![legacy_key(1)], Some(2)));
    assert_eq!(put_missing(table, 2, 2, 2).await, None);
    assert_eq!(version(table).await, Some(3));
}

async fn a_missing_row_is_not_put_without_a_membership<T: GroupRows>(table: &T) {
    assert_eq!(put_missing(table, 1, 1, 1).await, Some(Stale));
    assert_eq!((keys(table, 8).await, version(table).await), (vec![], None));
}

async fn adopting_again_does_not_take_the_version_back<T: GroupRows>(table: &T) {
    table.adopt_legacy_group(&membership(8)).await.expect("a membership");
    assert_eq!(put_missing(table, 1, 1, 1).await, None);
    table.adopt_legacy_group(&membership(8)).await.expect("the same membership");
    assert_eq!(version(table).await, Some(2));
}

async fn the_newest_message_is_found_and_that_of_an_author<T: Store>(table: &T) {
    for (author, second) in [(1, 1), (2, 3), (1, 2)] {
        table.store(message(8, author, second)).await;
    }
    table.store(message(9, 1, 9)).await;
    let newest = async |author: Option<u128>| {
        let author = author.map(|author| participant(author).uuid);
        table.newest_message(group(8), author).await.expect("a read")
    };
    assert_eq!(newest(None).await, Some(message(8, 2, 3)));
    assert_eq!(newest(Some(1)).await, Some(message(8, 1, 2)));
    assert_eq!(newest(Some(5)).await, None);
}

/// Each position is stored and read in between, as the repair does.
async fn the_pages_of_groups_have_each_group_in_one_piece<T: GroupRows>(table: &T) {
    let groups = 20..90;
    for of in groups.clone() {
        let key = legacy_key(i64::try_from(of % 7).expect("a number") * 100 + i64::try_from(of).expect("a number"));
        put(table, vec![row(of, 1, &key), row(of, 2, &key)]).await;
    }
    let (mut found, mut from, mut pages): (Vec<MessageGroupUuid>, Option<ScanPosition>, usize) = (Vec::new(), None, 0);
    loop {
        let (page, next) = table.groups(from).await.expect("a page");
        found.extend(page);
        pages += 1;
        let Some(next) = next else { break };
        from = Some(ScanPosition::from_key(next.key().clone()));
    }
    assert!(pages > 1 && found.len() == 2 * groups.clone().count(), "{} rows in {pages} pages", found.len());
    found.dedup();
    assert_eq!(found.len(), groups.clone().count(), "the rows of a group follow each other");
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), groups.map(group).collect::<HashSet<_>>());
}
