//! Unread counts and read markers.

use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::messages_table::{Applied, Fed, GroupRow, GroupUpdate, Membership, Message, Reading, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{MARK_READ, MESSAGES};
use crate::harness::fault_proxy::Fault::{Answer, Body, LoseAnswer};
use crate::harness::fault_proxy::INDEX_QUERY;
use crate::harness::legacy::LegacyGroup;
use crate::harness::{Client, Pair, Server, TestUser, World, eventually, test, user};

const LIST: &str = "{ messageGroups { nodes { uuid unreadCount readCursor otherReadCursor } } }";
const ONE: &str = "query One($uuid: UUID!) { messageGroup(uuid: $uuid) { uuid unreadCount readCursor } }";

/// The group as the list shows it.
async fn listed(client: &Client, group: &Value) -> Value {
    let data = client.data(LIST, json!({})).await;
    let nodes = data["messageGroups"]["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["uuid"] == *group).expect("the group").clone()
}

/// Waits until the list shows this number of unread messages. `messageGroup` shows the same state.
async fn unread(client: &Client, group: &Value, count: u64) -> Value {
    let what = format!("{count} unread messages");
    let row = eventually(&what, || async {
        let row = listed(client, group).await;
        (row["unreadCount"] == count).then_some(row)
    });
    let row = row.await;
    let one = client.data(ONE, json!({ "uuid": group })).await["messageGroup"].clone();
    assert_eq!([&one["unreadCount"], &one["readCursor"]], [&row["unreadCount"], &row["readCursor"]]);
    row
}

/// The cursors of a group's messages, from oldest to newest.
async fn cursors(client: &Client, group: &Value) -> Vec<Value> {
    let data = client.data(MESSAGES, json!({ "group": group, "last": 100 })).await;
    data["messages"]["edges"].as_array().expect("edges").iter().map(|edge| edge["cursor"].clone()).collect()
}

fn message(group: MessageGroupUuid, author: &TestUser, at: DateTime<Utc>, body: &str) -> Message {
    let uuid = MessageUuid(Uuid::new_v4());
    let sort_key = SortKey::of_message(at, uuid);
    Message { uuid, group, author: author.participant(), body: body.into(), created_at: at, sort_key }
}

/// A group whose messages ben has written, without a consumer. Ana's row says that she has received them.
struct Stored {
    world: World,
    server: Server,
    ana: TestUser,
    ben: TestUser,
    group: MessageGroupUuid,
    messages: Vec<Message>,
}

impl Stored {
    async fn new(count: usize) -> Self {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = MessageGroupUuid(Uuid::new_v4());
        let begin = Utc::now() - TimeDelta::minutes(10);
        let at = |number: usize| begin + TimeDelta::microseconds(i64::try_from(number).expect("a small number"));
        let messages: Vec<Message> =
            (0..count).map(|number| message(group, &ben, at(number), &number.to_string())).collect();
        let membership = Membership::begin(group, [ana.participant(), ben.participant()]);
        let newest = messages.last().expect("a message").clone();
        world.table.create_conversation(None, &membership, &messages[0], &newest).await.expect("a conversation");
        for message in &messages[1..] {
            world.table.put_message(message).await.expect("a message");
        }
        let stored = Self { world, server, ana, ben, group, messages };
        let row = stored.row(&newest).await;
        let reading = Reading { received: count as u64, ..Reading::default() };
        assert!(stored.world.table.put_reading(&row, reading).await.expect("a write"));
        stored
    }

    fn client(&self) -> Client {
        self.server.client(&self.ana)
    }

    fn uuid(&self) -> Value {
        json!(self.group.to_string())
    }

    /// Ana's row, at the key of `message`.
    async fn row(&self, message: &Message) -> GroupRow {
        let row = self.world.table.row_at(self.ana.uuid(), self.group, &message.sort_key).await.expect("a read");
        row.expect("a row")
    }

    /// Feeds a message as the consumer does: moves ana's row if the message is the newest one, and updates it otherwise.
    async fn feed(&self, to: &Message) {
        let rows = self.world.table.own_rows_of_group(self.ana.uuid(), self.group).await.expect("rows");
        let [before] = &rows[..] else { panic!("one row: {rows:?}") };
        let mut after = before.clone();
        after.fed = Fed::read(&format!("shard={}", to.uuid.0.as_u128())).expect("a position");
        let mut reading = after.reading.take().unwrap_or_default();
        reading.receive(&to.sort_key);
        after.reading = Some(reading);
        let mut update = GroupUpdate { group: self.group, delete: vec![], put: vec![], update: vec![], bump: None };
        if to.sort_key > before.sort_key {
            (after.sort_key, after.body) = (to.sort_key.clone(), to.body.clone());
            (update.delete, update.put) = (vec![before.clone()], vec![after]);
        } else {
            update.update = vec![(before.clone(), after)];
        }
        assert_eq!(self.world.table.apply(&[update], &[]).await.expect("a move"), Applied::Done);
    }
}

#[test]
fn messages_are_unread_until_they_are_marked_or_answered() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, ben, of_ana, of_ben, .. } = &pair;
        let group = of_ana.send_to(ben, "one").await["messageGroup"]["uuid"].clone();
        let to = json!({ "messageGroupUuid": group });
        of_ana.send(to.clone(), "two").await;
        of_ana.send(to.clone(), "three").await;
        let row = unread(of_ben, &group, 3).await;
        assert_eq!((&row["readCursor"], &row["otherReadCursor"]), (&Value::Null, &cursors(of_ana, &group).await[2]));
        let [one, two, three] = cursors(of_ben, &group).await.try_into().expect("three messages");
        let row = unread(of_ana, &group, 0).await;
        assert_eq!((&row["readCursor"], &row["otherReadCursor"]), (&three, &Value::Null));

        // An older message, then one before it, then the newest.
        let marked = of_ben.mark_read(&group, &two).await;
        let expected = json!({
            "uuid": group, "unreadCount": 1, "readCursor": two, "lastMessage": { "body": "three" },
            "otherParticipant": { "handle": ana.handle() },
        });
        assert_eq!(marked, expected);
        assert_eq!(of_ben.mark_read(&group, &one).await, expected, "a marker never moves backward");
        assert_eq!(of_ben.mark_read(&group, &two).await, expected, "a repetition changes nothing");
        assert_eq!(unread(of_ben, &group, 1).await["readCursor"], two);
        let marked = of_ben.mark_read(&group, &three).await;
        assert_eq!((&marked["unreadCount"], &marked["readCursor"]), (&json!(0), &three));
        assert_eq!(listed(of_ana, &group).await["otherReadCursor"], three);

        // What arrives after the marker is unread, and an answer reads it.
        of_ana.send(to.clone(), "four").await;
        assert_eq!(unread(of_ben, &group, 1).await["readCursor"], three);
        of_ben.send(to.clone(), "five").await;
        let row = unread(of_ben, &group, 0).await;
        assert_eq!(row["readCursor"], cursors(of_ben, &group).await[4]);
        unread(of_ana, &group, 1).await;
    });
}

#[test]
fn a_sent_message_is_read_by_its_author_at_once() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let query = "mutation Send($to: MessageRecipient!) { createMessage(input: { to: $to, body: \"hello\" }) {
            message { cursor } messageGroup { uuid unreadCount readCursor } } }";
        let client = server.client(&ana);
        let to_ben = json!({ "handle": ben.handle() });
        client.data(query, json!({ "to": to_ben })).await;
        let calls = world.proxy.all_calls();
        let sent = client.data(query, json!({ "to": to_ben })).await["createMessage"].clone();
        assert_eq!(world.proxy.all_calls() - calls, 1, "the write of the message");
        let group = &sent["messageGroup"];
        assert_eq!((&group["unreadCount"], &group["readCursor"]), (&json!(0), &sent["message"]["cursor"]));
        assert_eq!(sent["message"]["cursor"], cursors(&client, &group["uuid"]).await[1]);
    });
}

#[test]
fn only_messages_of_the_members_own_group_can_be_marked() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let [ana, ben, chloe] = [user("ana").await, user("ben").await, user("chloe").await];
        let (of_ana, of_chloe) = (server.client(&ana), server.client(&chloe));
        let group = of_ana.send_to(&ben, "one").await["messageGroup"]["uuid"].clone();
        let other = of_ana.send_to(&chloe, "two").await["messageGroup"]["uuid"].clone();
        let cursor = cursors(&of_ana, &group).await[0].clone();
        let of_other = cursors(&of_ana, &other).await[0].clone();
        let of_group = of_ana.data("{ messageGroups { edges { cursor } } }", json!({})).await["messageGroups"]["edges"]
            [0]["cursor"]
            .clone();
        let of_feed = of_ana.feed(&Value::Null, 1).await.end;
        // The cursor of a message of this group that does not exist.
        let uuid = MessageGroupUuid(group.as_str().and_then(|it| Uuid::try_parse(it).ok()).expect("a uuid"));
        let absent = message(uuid, &ana, Utc::now(), "never stored");
        let absent = {
            use base64::Engine;
            let text = format!("m1 {uuid} {}", absent.sort_key);
            json!(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text))
        };
        let invalid = ("BAD_USER_INPUT".to_owned(), Some("cursor_invalid".to_owned()));
        for up_to in [json!(""), json!("nonsense"), of_other, of_group, of_feed, absent] {
            assert_eq!(of_ana.error(MARK_READ, json!({ "group": group, "upTo": up_to })).await, invalid, "{up_to}");
        }
        let not_found = ("NOT_FOUND".to_owned(), None);
        for (client, group) in [(&of_chloe, &group), (&of_ana, &json!(Uuid::new_v4()))] {
            for up_to in [&cursor, &json!("nonsense")] {
                assert_eq!(client.error(MARK_READ, json!({ "group": group, "upTo": up_to })).await, not_found);
            }
        }
        let anonymous = server.anonymous().error(MARK_READ, json!({ "group": group, "upTo": cursor })).await;
        assert_eq!(anonymous.0, "UNAUTHENTICATED");
        assert_eq!(world.proxy.calls("UpdateItem"), 0);
        of_ana.mark_read(&group, &cursor).await;
    });
}

#[test]
fn unread_counts_cost_a_list_nothing_and_one_group_one_read() {
    test(async {
        let stored = Stored::new(3).await;
        let (client, proxy) = (stored.client(), &stored.world.proxy);
        let calls = async |query: &str| {
            let before = (proxy.all_calls(), proxy.calls(INDEX_QUERY));
            client.data(query, json!({ "uuid": stored.group.to_string() })).await;
            (proxy.all_calls() - before.0, proxy.calls(INDEX_QUERY) - before.1)
        };
        let list = |fields: &str| format!("{{ messageGroups {{ nodes {{ uuid {fields} }} }} }}");
        let one = |fields: &str| format!("query Q($uuid: UUID!) {{ messageGroup(uuid: $uuid) {{ uuid {fields} }} }}");
        // Fills the caches.
        calls(&one("")).await;
        assert_eq!(calls(&list("")).await, (1, 0));
        assert_eq!(calls(&list("unreadCount readCursor")).await, (1, 0));
        // The proxy counts a Query of the index twice.
        assert_eq!(calls(&list("otherReadCursor")).await, (1 + 2, 1));
        assert_eq!(calls(&one("")).await, (1, 0));
        assert_eq!(calls(&one("unreadCount readCursor a: unreadCount")).await, (2, 0));
        assert_eq!(proxy.lagging_reads(), 0);
        let data = client.data(ONE, json!({ "uuid": stored.group.to_string() })).await;
        assert_eq!(data["messageGroup"]["unreadCount"], 3);
    });
}

#[test]
fn marking_the_newest_message_costs_two_write_units() {
    test(async {
        let stored = Stored::new(3).await;
        let client = stored.client();
        let all = cursors(&client, &stored.uuid()).await;
        client.data("{ me { uuid } }", json!({})).await;
        let calls = |operation| stored.world.proxy.calls(operation);
        let before = ["GetItem", "Query", "UpdateItem"].map(calls);
        let consumed = || [stored.world.proxy.read_units(), stored.world.proxy.write_units("UpdateItem")];
        let consumed_before = consumed();
        client.mark_read(&stored.uuid(), &all[2]).await;
        let after = ["GetItem", "Query", "UpdateItem"].map(calls);
        let [read, written] = [0, 1].map(|it| consumed()[it] - consumed_before[it]);
        println!("marking the newest message: {read} read units and {written} write units");
        assert_eq!((read, written), (2.0, 2.0), "one write unit for the row, and one for its copy in the index");
        // The message and the row; no Query; one write.
        assert_eq!([0, 1, 2].map(|it| after[it] - before[it]), [2, 0, 1]);
        for cursor in &all {
            client.mark_read(&stored.uuid(), cursor).await;
        }
        assert_eq!(calls("UpdateItem"), after[2], "everything is read already");
    });
}

#[test]
fn a_marker_that_is_written_while_messages_are_fed_counts_them() {
    test(async {
        // The message that is marked, when the other one was created, and how many are unread then.
        for (marked, at, unread) in [(1, 10, 2), (2, 10, 1), (2, -1, 0), (1, -1, 1)] {
            let stored = Stored::new(3).await;
            let client = stored.client();
            let all = cursors(&client, &stored.uuid()).await;
            let proxy = &stored.world.proxy;
            // The first write waits until the test writes too.
            proxy.gather("UpdateItem", 2);
            let before = proxy.calls("UpdateItem");
            let (marking, group, up_to) = (client.clone(), stored.uuid(), all[marked].clone());
            let marking = tokio::spawn(async move { marking.mark_read(&group, &up_to).await });
            eventually("the write", || async { (proxy.calls("UpdateItem") > before).then_some(()) }).await;
            let old = stored.row(&stored.messages[2]).await;
            let created_at = stored.messages[0].created_at + TimeDelta::seconds(at);
            let fed = message(stored.group, &stored.ben, created_at, "fed");
            stored.world.table.put_message(&fed).await.expect("a message");
            stored.feed(&fed).await;
            assert!(!stored.world.table.put_reading(&old, Reading::default()).await.expect("an attempt"));
            let group = marking.await.expect("a response");
            assert_eq!([&group["unreadCount"], &group["readCursor"]], [&json!(unread), &all[marked]], "{marked} {at}");
            assert_eq!(group["lastMessage"]["body"], if at > 0 { "fed" } else { "2" });
            assert_eq!(listed(&client, &stored.uuid()).await["unreadCount"], unread);
            assert_eq!(proxy.calls("UpdateItem") - before, 3, "an attempt in vain, that of the test, and the write");
            let rows = stored.world.table.own_rows_of_group(stored.ana.uuid(), stored.group).await.expect("rows");
            let received: Vec<_> = rows.iter().filter_map(|row| row.reading.as_ref()).map(|it| it.received).collect();
            assert_eq!(received, [4]);
        }
    });
}

#[test]
fn two_markers_at_the_same_time_leave_the_newer_one() {
    test(async {
        let stored = Stored::new(10).await;
        let client = stored.client();
        let (all, group) = (cursors(&client, &stored.uuid()).await, stored.uuid());
        stored.world.proxy.gather("UpdateItem", 10);
        futures::future::join_all(all.iter().map(|cursor| client.mark_read(&group, cursor))).await;
        let row = listed(&client, &group).await;
        assert_eq!((&row["unreadCount"], &row["readCursor"]), (&json!(0), &all[9]));
    });
}

#[test]
fn a_lost_response_or_a_conflict_does_not_fail_the_marker() {
    test(async {
        for fault in [LoseAnswer, Answer(400, "TransactionConflictException")] {
            let stored = Stored::new(3).await;
            let client = stored.client();
            let all = cursors(&client, &stored.uuid()).await;
            stored.world.proxy.next("UpdateItem", [fault]);
            let marked = client.mark_read(&stored.uuid(), &all[1]).await;
            assert_eq!((&marked["unreadCount"], &marked["readCursor"]), (&json!(1), &all[1]));
            assert!(stored.world.proxy.is_spent());
        }
    });
}

#[test]
fn a_row_that_the_index_does_not_show_is_found() {
    test(async {
        let stored = Stored::new(3).await;
        let client = stored.client();
        let all = cursors(&client, &stored.uuid()).await;
        let empty = Body(200, "{\"Count\":0,\"Items\":[],\"ScannedCount\":0}");
        // The row is not at the key of an older message, and the index lags.
        stored.world.proxy.next("Query", vec![empty.clone(); 2]);
        assert_eq!(client.mark_read(&stored.uuid(), &all[0]).await["unreadCount"], 2);
        stored.world.proxy.next("Query", vec![empty; 4]);
        assert_eq!(client.mark_read(&stored.uuid(), &all[1]).await["unreadCount"], 1);
        assert!(stored.world.proxy.is_spent());
    });
}

#[test]
fn a_message_that_arrives_late_is_unread_only_after_the_marker() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let consumer = world.consumer();
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (of_ana, of_ben) = (server.client(&ana), server.client(&ben));
        let group = of_ben.send_to(&ana, "one").await["messageGroup"]["uuid"].clone();
        let begin = Utc::now();
        of_ben.send(json!({ "messageGroupUuid": group }), "two").await;
        unread(&of_ana, &group, 2).await;
        let all = cursors(&of_ana, &group).await;
        of_ana.mark_read(&group, &all[0]).await;
        let uuid = MessageGroupUuid(group.as_str().and_then(|it| Uuid::try_parse(it).ok()).expect("a uuid"));
        // Between the two messages, after the marker; and before the first one.
        for (at, body) in [(begin, "late"), (begin - TimeDelta::minutes(1), "later")] {
            let late = message(uuid, &ben, at, body);
            world.table.put_message(&late).await.expect("a message");
        }
        let events = of_ana.next_events(&Value::Null, 4).await;
        assert_eq!(events.events[3]["messageGroup"]["lastMessage"]["body"], "two");
        assert_eq!(unread(&of_ana, &group, 2).await["readCursor"], all[0]);
        drop(consumer);
    });
}

#[test]
fn counting_stops_after_a_thousand_messages() {
    test(async {
        let stored = Stored::new(1_105).await;
        let client = stored.client();
        let (group, first) = (stored.uuid(), &stored.messages[0]);
        let data = client.data(MESSAGES, json!({ "group": group, "first": 1 })).await;
        let cursor = &data["messages"]["edges"][0]["cursor"];
        assert_eq!(listed(&client, &group).await["unreadCount"], 1_105);
        let queries = stored.world.proxy.calls("Query");
        assert_eq!(client.mark_read(&group, cursor).await["unreadCount"], 1_000);
        assert!(stored.world.proxy.calls("Query") - queries <= 4);
        let (group, author) = (stored.group, stored.ben.uuid());
        let up_to = &stored.messages[1_104].sort_key;
        for (after, expected) in [
            (None, 1_000),
            (Some(&first.sort_key), 1_000),
            (Some(&stored.messages[104].sort_key), 1_000),
            (Some(&stored.messages[105].sort_key), 999),
        ] {
            assert_eq!(
                stored.world.table.count_messages(group, author, after, up_to).await.expect("a count"),
                expected
            );
        }
    });
}

#[test]
fn groups_of_the_legacy_system_start_without_unread_messages() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let legacy = LegacyGroup::new();
        for (at, body) in [("2022-05-04T10:42:39", "one"), ("2022-05-04T10:42:40", "two")] {
            legacy.message(&world, at, &ben, body).await;
        }
        // The legacy system left two rows in some lists. The newer one counts, which is not at the key of the newest message.
        legacy.row(&world, "2022-05-04T10:42:40", &ana, &ben, "two").await;
        legacy.row(&world, "2022-05-04T10:42:41", &ana, &ben, "two").await;
        legacy.row(&world, "2022-05-04T10:42:40", &ben, &ana, "two").await;
        let (of_ana, of_ben) = (server.client(&ana), server.client(&ben));
        let group = json!(legacy.uuid);
        let row = unread(&of_ana, &group, 0).await;
        assert_eq!([&row["readCursor"], &row["otherReadCursor"]], [&Value::Null, &Value::Null]);
        let all = cursors(&of_ana, &group).await;
        for cursor in [&all[0], &all[1]] {
            let marked = of_ana.mark_read(&group, cursor).await;
            assert_eq!((&marked["unreadCount"], &marked["readCursor"]), (&json!(0), cursor));
            assert_eq!(marked["lastMessage"]["body"], "two");
        }
        assert_eq!(unread(&of_ana, &group, 0).await["readCursor"], all[1]);
        assert_eq!(listed(&of_ben, &group).await["otherReadCursor"], all[1]);

        let _consumer = world.consumer();
        of_ben.send(json!({ "messageGroupUuid": group }), "three").await;
        assert_eq!(unread(&of_ana, &group, 1).await["readCursor"], all[1]);
        of_ana.send(json!({ "messageGroupUuid": group }), "four").await;
        unread(&of_ana, &group, 0).await;
        unread(&of_ben, &group, 1).await;
    });
}
