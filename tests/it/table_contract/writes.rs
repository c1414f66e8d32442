//! Writes that only requests make: messages, pairs, memberships, new conversations, and the adoption of legacy groups.

use std::future::Future;

use cruddur_messaging::aws::Aws;
use cruddur_messaging::messages_table::{
    Created, FirstRequest, GroupRow, GroupUpdate, Membership, Message, MessagesTable,
};
use cruddur_messaging::model::IdempotencyKey;
use uuid::Uuid;

use super::{apply, at, group, legacy_key, membership, message, participant, put_of, reading, row};
use crate::harness::{TABLE, World, eventually, test};

/// The table without the proxy that can hold calls.
async fn direct(world: &World) -> MessagesTable {
    MessagesTable::new(Aws::local(world.engine_url()).await.dynamodb, TABLE)
}

async fn put_rows(table: &MessagesTable, rows: Vec<GroupRow>) {
    assert_eq!(apply(table, put_of(rows[0].group, rows)).await, None);
}

#[test]
fn a_message_is_stored_once() {
    test(async {
        let World { table, .. } = &World::new().await;
        let first = message(8, 1, 1);
        assert!(table.put_message(&first).await.expect("a message"));
        let second = Message { body: "other".to_owned(), ..first.clone() };
        assert!(!table.put_message(&second).await.expect("a message"));
        assert_eq!(table.newest_message(group(8)).await.expect("a read"), Some(first));
    });
}

#[test]
fn a_pair_has_the_group_that_was_written_first() {
    test(async {
        let World { table, .. } = &World::new().await;
        let [one, other] = [participant(1), participant(2)];
        assert!(table.put_pair(&[one.clone(), other.clone()], group(8)).await.expect("a pair"));
        assert!(!table.put_pair(&[other.clone(), one.clone()], group(9)).await.expect("a pair"));
        assert_eq!(table.group_of_pair(&[one, other]).await.expect("a read"), Some(group(8)));
    });
}

#[test]
fn a_membership_is_not_overwritten() {
    test(async {
        let World { table, .. } = &World::new().await;
        let first = Membership { version: 7, ..membership(8) };
        assert!(table.put_membership(&first).await.expect("a membership"));
        assert!(!table.put_membership(&membership(8)).await.expect("a membership"));
        assert_eq!(table.membership(group(8)).await.expect("a read"), Some(first));
    });
}

#[test]
fn the_first_request_with_a_key_is_kept() {
    test(async {
        let World { table, .. } = &World::new().await;
        let first = message(8, 1, 1);
        let request = FirstRequest {
            author: first.author.uuid,
            key: IdempotencyKey(Uuid::from_u128(7)),
            message_uuid: first.uuid,
            sort_key: first.sort_key,
            recipient: participant(2).uuid,
            group: Some(group(8)),
            body_hash: [1; 32],
            handle_hash: None,
            expires_at: at(3600),
        };
        let second = FirstRequest { group: Some(group(9)), body_hash: [2; 32], ..request.clone() };
        assert_eq!(table.put_first_request(&request).await.expect("a write"), None);
        assert_eq!(table.put_first_request(&second).await.expect("a write"), Some(request.clone()));
        assert_eq!(table.put_first_request(&request).await.expect("a write"), Some(request), "its own earlier attempt");
    });
}

/// A read marker is written only to the row that was read: another marker was set, or messages were received meanwhile.
#[test]
fn a_read_marker_is_not_written_to_a_row_that_has_changed() {
    test(async {
        let World { table, .. } = &World::new().await;
        let (key, marker) = (legacy_key(9), legacy_key(5));
        let seen = GroupRow { reading: Some(reading(3, Some(&marker))), ..row(8, 1, &key) };
        put_rows(table, vec![seen.clone()]).await;
        let new = reading(4, Some(&legacy_key(7)));
        for other in [
            GroupRow { reading: Some(reading(2, Some(&marker))), ..seen.clone() },
            GroupRow { reading: Some(reading(3, None)), ..seen.clone() },
            GroupRow { reading: None, ..seen.clone() },
            GroupRow { group: group(9), ..seen.clone() },
        ] {
            assert!(!table.put_reading(&other, new.clone()).await.expect("an attempt"), "{other:?}");
        }
        assert!(table.put_reading(&seen, new.clone()).await.expect("a write"));
        let now = table.own_rows_of_group(seen.owner, group(8)).await.expect("rows");
        assert_eq!(now.iter().map(|row| row.reading.clone()).collect::<Vec<_>>(), [Some(new)]);
    });
}

#[test]
fn a_conversation_of_a_pair_is_created_once() {
    test(async {
        let World { table, .. } = &World::new().await;
        // Messages of different times, so that only the pair is in use.
        let create = async |of: u128, second: i64| {
            let first = message(of, 1, second);
            table.create_conversation(None, &membership(of), &first, &first).await.expect("a transaction")
        };
        assert_eq!(create(8, 1).await, Created::Done);
        assert_eq!(create(9, 2).await, Created::PairExists(group(8)));
        assert_eq!(create(8, 1).await, Created::PairExists(group(8)), "its own earlier attempt");
        assert_eq!(table.membership(group(9)).await.expect("a read"), None);
        assert_eq!(table.newest_message(group(9)).await.expect("a read"), None);
        assert_eq!(table.indexed_rows(group(9)).await.expect("rows"), []);
    });
}

/// Each key of a new conversation but the pair's has a new uuid. Should one be in use all the same, nothing is overwritten.
#[test]
fn a_new_conversation_overwrites_nothing() {
    test(async {
        for used in ["membership", "message", "row"] {
            let World { table, .. } = &World::new().await;
            let first = message(8, 1, 1);
            let before = Message { body: "before".to_owned(), ..first.clone() };
            match used {
                "membership" => {
                    let before = Membership { version: 7, ..membership(8) };
                    assert!(table.put_membership(&before).await.expect("a membership"));
                }
                "message" => assert!(table.put_message(&before).await.expect("a message")),
                _ => put_rows(table, vec![row(9, 2, &first.sort_key)]).await,
            }
            let created = table.create_conversation(None, &membership(8), &first, &first).await;
            assert_eq!(created.expect("a transaction"), Created::Conflict, "{used}");
            assert_eq!(table.group_of_pair(&membership(8).participants).await.expect("a read"), None, "{used}");
            let version = table.membership(group(8)).await.expect("a read").map(|it| it.version);
            let newest = table.newest_message(group(8)).await.expect("a read");
            let rows = table.own_rows_of_group(participant(2).uuid, group(9)).await.expect("rows").len();
            let expected = match used {
                "membership" => (Some(7), None, 0),
                "message" => (None, Some(before), 0),
                _ => (None, None, 1),
            };
            assert_eq!((version, newest, rows), expected, "{used}");
        }
    });
}

/// Runs `first` until its next `PutItem` is on its way to the engine, then `meanwhile`, and then the rest of `first`.
async fn with_held_put<A>(world: &World, first: impl Future<Output = A>, meanwhile: impl Future<Output = ()>) -> A {
    world.proxy.gather("PutItem", 2);
    let before = world.proxy.calls("PutItem");
    let hold = async {
        eventually("the held call", || async { (world.proxy.calls("PutItem") > before).then_some(()) }).await;
        meanwhile.await;
        // The second call that is gathered lets the first one go on.
        world.table.put_message(&message(99, 1, 1)).await.expect("a message");
    };
    tokio::join!(first, hold).0
}

/// Both have seen the pair without an item, and each has found another group to have the newest message.
#[test]
fn two_requests_that_adopt_a_pair_with_two_groups_leave_it_with_the_first() {
    test(async {
        let world = World::new().await;
        let direct = direct(&world).await;
        let pair = async || direct.group_of_pair(&membership(8).participants).await.expect("a read");
        for (of, second) in [(8, 1), (9, 2)] {
            put_rows(&direct, [1, 2].map(|owner| row(of, owner, &legacy_key(second))).to_vec()).await;
        }
        direct.put_message(&message(8, 1, 20)).await.expect("a message");
        let mut first = None;
        let meanwhile = async {
            direct.put_message(&message(9, 1, 30)).await.expect("a message");
            direct.adopt_legacy_group(&membership(9)).await.expect("the group with the newest message");
            first = pair().await;
        };
        with_held_put(&world, world.table.adopt_legacy_group(&membership(8)), meanwhile)
            .await
            .expect("the other group");
        assert!(first.is_some());
        assert_eq!(pair().await, first);
        for of in [8, 9] {
            assert!(direct.membership(group(of)).await.expect("a read").is_some(), "{of}");
        }
    });
}

/// The consumer adopts the same group and puts a missing row, before the membership of a request arrives.
#[test]
fn a_membership_that_is_adopted_late_does_not_take_the_version_back() {
    test(async {
        let world = World::new().await;
        let direct = direct(&world).await;
        put_rows(&direct, vec![row(8, 1, &legacy_key(1))]).await;
        direct.put_pair(&membership(8).participants, group(8)).await.expect("a pair");
        let meanwhile = async {
            direct.adopt_legacy_group(&membership(8)).await.expect("a membership");
            let put = vec![row(8, 2, &legacy_key(1))];
            let update = GroupUpdate { bump: Some(1), ..put_of(group(8), put) };
            assert_eq!(apply(&direct, update).await, None);
        };
        with_held_put(&world, world.table.adopt_legacy_group(&membership(8)), meanwhile).await.expect("the group");
        let version = direct.membership(group(8)).await.expect("a read").map(|membership| membership.version);
        assert_eq!(version, Some(2));
    });
}
