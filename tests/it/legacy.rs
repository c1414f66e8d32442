//! Legacy data, including its inconsistencies, is read, paged, written to and moved.

use serde_json::{Value, json};

use crate::harness::client::{GROUPS, MESSAGES};
use crate::harness::legacy::LegacyGroup;
use crate::harness::{Client, TestUser, World, eventually, test, user};

/// Writes one group of two users. Its messages have every time format that the legacy system used.
async fn plain(world: &World, ana: &TestUser, ben: &TestUser) -> LegacyGroup {
    let group = LegacyGroup::new();
    group.message(world, "2022-05-04T10:42:39.123456+00:00", ana, "0").await;
    group.message(world, "2022-05-04T10:42:40+00:00", ben, "1").await;
    group.message(world, "2022-05-04T10:42:41", ana, "2").await;
    group.message(world, "2022-12-31T23:30:00.000001-04:00", ben, "3").await;
    let last = "2022-12-31T23:30:00.000001-04:00";
    group.row(world, last, ana, ben, "3").await;
    group.row(world, last, ben, ana, "3").await;
    group
}

async fn uuids(client: &Client, size: usize) -> Vec<String> {
    client.groups(size).await.iter().map(|group| group["uuid"].as_str().expect("a uuid").to_owned()).collect()
}

async fn bodies(client: &Client, group: &LegacyGroup, arguments: Value) -> Vec<String> {
    let mut variables = arguments;
    variables["group"] = json!(group.uuid);
    let data = client.data(MESSAGES, variables).await;
    let nodes = data["messages"]["nodes"].as_array().expect("nodes").clone();
    nodes.iter().map(|node| node["body"].as_str().expect("a body").to_owned()).collect()
}

#[test]
fn lists_history_pages_and_windows() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben, eve) = (user("ana").await, user("ben").await, user("eve").await);
        let group = plain(&world, &ana, &ben).await;
        for (me, other) in [(&ana, &ben), (&ben, &ana)] {
            let client = server.client(me);
            let listed = client.groups(10).await;
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0]["otherParticipant"]["handle"], other.handle());
            assert_eq!(listed[0]["lastMessage"]["body"], "3");
            assert_eq!(listed[0]["lastMessage"]["author"]["handle"], ben.handle());
            assert_eq!(listed[0]["lastMessageAt"], "2023-01-01T03:30:00.000001Z");
            assert_eq!(bodies(&client, &group, json!({})).await, ["0", "1", "2", "3"]);
            let one = client.data(
                "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { lastMessage { body } } }",
                json!({ "uuid": group.uuid }),
            );
            assert_eq!(one.await["messageGroup"]["lastMessage"]["body"], "3");
        }
        let client = server.client(&ana);
        let mut after = Value::Null;
        for number in 0..4 {
            let page = client.data(MESSAGES, json!({ "group": group.uuid, "first": 1, "after": after })).await;
            assert_eq!(page["messages"]["nodes"][0]["body"], number.to_string());
            assert_eq!(page["messages"]["pageInfo"]["hasNextPage"], json!(number < 3));
            after = page["messages"]["pageInfo"]["endCursor"].clone();
        }
        // The window selects by instant, not by text: the last message is of 2023, and one key has no fraction.
        let window = |from: &str, to: &str| json!({ "from": from, "to": to });
        assert_eq!(
            bodies(&client, &group, window("2022-01-01T00:00:00Z", "2023-01-01T00:00:00Z")).await,
            ["0", "1", "2"]
        );
        assert_eq!(bodies(&client, &group, window("2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z")).await, ["3"]);
        assert_eq!(bodies(&client, &group, window("2022-05-04T10:42:40Z", "2022-05-04T10:42:41Z")).await, ["1"]);
        assert_eq!(bodies(&client, &group, window("2022-05-04T10:42:41Z", "2022-05-04T10:42:42Z")).await, ["2"]);
        let outsider = server.client(&eve).error(MESSAGES, json!({ "group": group.uuid })).await;
        assert_eq!(outsider, ("NOT_FOUND".to_owned(), None));
    });
}

#[test]
fn sending_by_uuid_and_by_handle_continues_the_group() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = plain(&world, &ana, &ben).await;
        let sent = server.client(&ben).send(json!({ "messageGroupUuid": group.uuid }), "by uuid").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(group.uuid));
        let sent = server.client(&ana).send_to(&ben, "by handle").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(group.uuid));
        assert_eq!(bodies(&server.client(&ana), &group, json!({ "last": 2 })).await, ["by uuid", "by handle"]);
        let other = world.server().await;
        assert_eq!(bodies(&other.client(&ben), &group, json!({ "last": 1 })).await, ["by handle"]);
        // The window is correct for a group with messages of both systems.
        let recent = json!({ "from": "2024-01-01T00:00:00Z" });
        assert_eq!(bodies(&other.client(&ben), &group, recent).await, ["by uuid", "by handle"]);
    });
}

#[test]
fn concurrent_sends_from_both_participants_by_handle_and_by_uuid() {
    test(async {
        for _ in 0..5 {
            let world = World::new().await;
            let servers = [world.server().await, world.server().await];
            let (ana, ben) = (user("ana").await, user("ben").await);
            let group = plain(&world, &ana, &ben).await;
            let sends = (0..20).map(|number| {
                let (me, other) = if number % 2 == 0 { (&ana, &ben) } else { (&ben, &ana) };
                let client = servers[number % 2].client(me);
                let to = if number % 4 < 2 {
                    json!({ "handle": other.handle() })
                } else {
                    json!({ "messageGroupUuid": group.uuid })
                };
                async move { client.send(to, &format!("new {number}")).await }
            });
            for sent in futures::future::join_all(sends).await {
                assert_eq!(sent["messageGroup"]["uuid"], json!(group.uuid));
            }
            assert_eq!(bodies(&servers[0].client(&ana), &group, json!({ "last": 100 })).await.len(), 24);
            assert_eq!(uuids(&servers[1].client(&ben), 10).await, [group.uuid.to_string()]);
        }
    });
}

#[test]
fn a_pair_with_two_groups_keeps_both_and_continues_the_one_with_the_newest_message() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (older, newer) = (LegacyGroup::new(), LegacyGroup::new());
        older.message(&world, "2022-05-04T10:00:00", &ana, "old").await;
        newer.message(&world, "2022-05-05T10:00:00", &ben, "new").await;
        // The rows of the older group have newer sort keys, but only messages count.
        for (owner, other) in [(&ana, &ben), (&ben, &ana)] {
            older.row(&world, "2022-06-01T00:00:00", owner, other, "old").await;
            newer.row(&world, "2022-05-05T10:00:00", owner, other, "new").await;
        }
        for client in [server.client(&ana), server.client(&ben)] {
            assert_eq!(uuids(&client, 1).await, [older.uuid.to_string(), newer.uuid.to_string()]);
            assert_eq!(bodies(&client, &older, json!({})).await, ["old"]);
            assert_eq!(bodies(&client, &newer, json!({})).await, ["new"]);
        }
        // Sending to the older group by its uuid does not make it the group of the pair.
        server.client(&ana).send(json!({ "messageGroupUuid": older.uuid }), "into the old one").await;
        let sent = server.client(&ben).send_to(&ana, "by handle").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(newer.uuid));
        let sent = server.client(&ana).send_to(&ben, "by handle").await;
        assert_eq!(sent["messageGroup"]["uuid"], json!(newer.uuid));
    });
}

#[test]
fn a_group_with_two_rows_in_one_list_is_listed_once_for_every_page_size() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let mut expected = Vec::new();
        for number in (0..6).rev() {
            let (friend, group) = (user("friend").await, LegacyGroup::new());
            group.message(&world, &format!("2022-05-1{number}T10:00:00"), &friend, "hello").await;
            group.row(&world, &format!("2022-05-1{number}T10:00:00"), &ana, &friend, "hello").await;
            group.row(&world, &format!("2022-05-0{}T10:00:00", number + 1), &ana, &friend, "stale").await;
            expected.push(group.uuid.to_string());
        }
        let client = server.client(&ana);
        for size in [1, 2, 4, 5, 6, 100] {
            assert_eq!(uuids(&client, size).await, expected, "in pages of {size}");
        }
        let page = client.data(GROUPS, json!({ "first": 6 })).await;
        assert_eq!(page["messageGroups"]["pageInfo"]["hasNextPage"], false);
    });
}

#[test]
fn a_row_whose_sort_key_belongs_to_no_message_shows_the_newest_message() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = LegacyGroup::new();
        group.message(&world, "2022-05-04T10:00:00.5", &ana, "the newest").await;
        group.row(&world, "2022-05-04T09:00:00", &ana, &ben, "something else").await;
        let client = server.client(&ana);
        let listed = client.groups(10).await;
        assert_eq!(listed[0]["lastMessage"]["body"], "the newest");
        assert_eq!(listed[0]["lastMessageAt"], "2022-05-04T10:00:00.500000Z");
        // A group without messages is readable too.
        let (chloe, empty) = (user("chloe").await, LegacyGroup::new());
        empty.row(&world, "2022-05-03T09:00:00", &ana, &chloe, "all there is").await;
        let listed = client.groups(10).await;
        assert_eq!(listed[1]["lastMessage"]["body"], "all there is");
        assert_eq!(bodies(&client, &empty, json!({})).await, Vec::<String>::new());
    });
}

#[test]
fn the_consumer_moves_a_group_with_duplicate_and_missing_rows() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben, chloe) = (user("ana").await, user("ben").await, user("chloe").await);
        let with_ben = plain(&world, &ana, &ben).await;
        // Ana has two rows of the group, Chloe has none.
        let with_chloe = LegacyGroup::new();
        with_chloe.message(&world, "2022-05-04T10:00:00", &chloe, "hello").await;
        with_chloe.row(&world, "2022-05-04T10:00:00", &ana, &chloe, "hello").await;
        with_chloe.row(&world, "2022-05-03T10:00:00", &ana, &chloe, "stale").await;
        let consumer = world.consumer();
        let client = server.client(&ana);
        client.send(json!({ "messageGroupUuid": with_chloe.uuid }), "moved").await;
        for (client, other) in [(&client, &chloe), (&server.client(&chloe), &ana)] {
            eventually("the move", || async {
                let groups = client.groups(10).await;
                let top = groups.first()?;
                (top["lastMessage"]["body"] == "moved" && top["otherParticipant"]["handle"] == other.handle())
                    .then_some(())
            })
            .await;
        }
        assert_eq!(uuids(&client, 1).await, [with_chloe.uuid.to_string(), with_ben.uuid.to_string()]);
        let rows = world
            .table
            .own_rows_of_group(ana.uuid(), cruddur_messaging::model::MessageGroupUuid(with_chloe.uuid))
            .await;
        assert_eq!(rows.expect("rows").len(), 1, "the stale row is gone");
        server.client(&ben).send_to(&ana, "moved too").await;
        eventually("the move", || async {
            (uuids(&client, 10).await == [with_ben.uuid.to_string(), with_chloe.uuid.to_string()]).then_some(())
        })
        .await;
        assert!(consumer.finish().await);
    });
}

#[test]
fn a_move_to_a_bare_time_overwrites_no_row_of_another_group() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben, chloe) = (user("ana").await, user("ben").await, user("chloe").await);
        let (one, other) = (LegacyGroup::new(), LegacyGroup::new());
        let at = "2022-05-04T10:00:00";
        other.message(&world, at, &chloe, "other").await;
        other.row(&world, at, &ana, &chloe, "other").await;
        other.row(&world, at, &chloe, &ana, "other").await;
        one.row(&world, "2022-05-03T10:00:00", &ana, &ben, "before").await;
        one.row(&world, "2022-05-03T10:00:00", &ben, &ana, "before").await;
        // The message has the same time as the row of the other group.
        one.message(&world, at, &ben, "same time").await;
        let consumer = world.consumer();
        let client = server.client(&ana);
        eventually("the move", || async { (uuids(&client, 10).await.first()? == &one.uuid.to_string()).then_some(()) })
            .await;
        assert_eq!(uuids(&client, 1).await, [one.uuid.to_string(), other.uuid.to_string()]);
        assert!(consumer.finish().await);
    });
}

#[test]
fn both_participants_can_send_when_a_group_is_in_only_one_list() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (both, bens) = (LegacyGroup::new(), LegacyGroup::new());
        both.message(&world, "2022-05-04T10:00:00", &ana, "older").await;
        both.row(&world, "2022-05-04T10:00:00", &ana, &ben, "older").await;
        both.row(&world, "2022-05-04T10:00:00", &ben, &ana, "older").await;
        bens.message(&world, "2022-05-05T10:00:00", &ben, "newer").await;
        bens.row(&world, "2022-05-05T10:00:00", &ben, &ana, "newer").await;
        server.client(&ana).send(json!({ "messageGroupUuid": both.uuid }), "by uuid").await;
        for (me, other) in [(&ana, &ben), (&ben, &ana)] {
            let sent = server.client(me).send_to(other, "by handle").await;
            assert_eq!(sent["messageGroup"]["uuid"], json!(bens.uuid));
            assert!(!bodies(&server.client(me), &bens, json!({})).await.is_empty());
        }
    });
}

#[test]
fn a_late_consumer_shows_the_newest_message() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = LegacyGroup::new();
        // This sort key is greater than those of new messages, because its year is 2999.
        group.message(&world, "2999-05-04T10:00:00+08:00", &ben, "ahead").await;
        group.row(&world, "2022-05-04T10:00:00", &ana, &ben, "behind").await;
        group.row(&world, "2022-05-04T10:00:00", &ben, &ana, "behind").await;
        let client = server.client(&ana);
        client.send(json!({ "messageGroupUuid": group.uuid }), "now").await;
        let consumer = world.consumer();
        eventually("the move", || async { (world.proxy.calls("TransactWriteItems") > 0).then_some(()) }).await;
        assert!(consumer.finish().await);
        let listed = client.groups(10).await;
        assert_eq!((listed.len(), &listed[0]["lastMessage"]["body"]), (1, &json!("ahead")));
        let looked = client.data(
            "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { lastMessage { body } } }",
            json!({ "uuid": group.uuid }),
        );
        assert_eq!(looked.await["messageGroup"]["lastMessage"]["body"], "ahead");
    });
}

/// For legacy keys, whose text can differ from the instant, the read starts up to a day before the window.
#[test]
fn a_window_after_many_messages_is_found_in_a_few_reads() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = LegacyGroup::new();
        for second in 0..60 {
            group.message(&world, &format!("2022-05-04T08:00:{second:02}"), &ben, "before").await;
        }
        group.message(&world, "2022-05-04T12:00:00", &ben, "inside").await;
        group.row(&world, "2022-05-04T12:00:00", &ana, &ben, "inside").await;
        let query = "query($group: UUID!) { messages(messageGroupUuid: $group, first: 1, createdFrom: \"2022-05-04T10:00:00Z\") {
            nodes { body } pageInfo { hasNextPage } } }";
        let before = world.proxy.calls("Query");
        let read = server.client(&ana).data(query, json!({ "group": group.uuid })).await;
        assert_eq!(read["messages"], json!({ "nodes": [{ "body": "inside" }], "pageInfo": { "hasNextPage": false } }));
        // The pages have 2, 4, 8, 16, 32 and 64 keys; the membership check is one more Query.
        assert_eq!(world.proxy.calls("Query") - before, 6);
    });
}
