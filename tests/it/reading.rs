//! Lists of groups, message history, pagination and time windows.

use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::messages_table::{Membership, Message, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{CREATE, GROUPS, MESSAGES};
use crate::harness::{Client, Server, TestUser, World, test, user};

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn message(group: MessageGroupUuid, author: &TestUser, at: DateTime<Utc>, body: &str) -> Message {
    let uuid = MessageUuid(Uuid::new_v4());
    let sort_key = SortKey::of_message(at, uuid);
    Message { uuid, group, author: author.participant(), body: body.into(), created_at: at, sort_key }
}

/// Stores a group whose messages were created at `times`. Their bodies are numbers that start at 0.
async fn conversation(world: &World, users: [&TestUser; 2], times: &[DateTime<Utc>]) -> Value {
    let group = MessageGroupUuid(Uuid::new_v4());
    let messages: Vec<Message> = times
        .iter()
        .enumerate()
        .map(|(number, at)| message(group, users[number % 2], *at, &number.to_string()))
        .collect();
    let last = messages.last().expect("a message");
    let participants = users.map(TestUser::participant);
    let membership = Membership::begin(group, participants);
    world.table.create_conversation(None, &membership, &messages[0], last).await.expect("a conversation");
    for message in &messages[1..] {
        world.table.put_message(message).await.expect("a message");
    }
    json!(group.to_string())
}

struct Paged {
    bodies: Vec<String>,
    info: Value,
}

async fn page(client: &Client, group: &Value, arguments: Value) -> Paged {
    let mut variables = arguments;
    variables["group"] = group.clone();
    let data = client.data(MESSAGES, variables).await;
    let connection = &data["messages"];
    let edges = connection["edges"].as_array().expect("edges");
    let bodies: Vec<String> =
        edges.iter().map(|edge| edge["node"]["body"].as_str().expect("a body").to_owned()).collect();
    let nodes: Vec<&str> =
        connection["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["body"].as_str()).collect();
    assert_eq!(bodies, nodes);
    let info = connection["pageInfo"].clone();
    assert_eq!(info["startCursor"], edges.first().map_or(Value::Null, |edge| edge["cursor"].clone()));
    assert_eq!(info["endCursor"], edges.last().map_or(Value::Null, |edge| edge["cursor"].clone()));
    Paged { bodies, info }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn long_conversation() -> (World, Server, TestUser, Value) {
    let world = World::new().await;
    let server = world.server().await;
    let (ana, ben) = (user("ana").await, user("ben").await);
    let begin = instant("2025-12-31T23:00:00Z");
    let times: Vec<_> = (0..105).map(|number| begin + TimeDelta::minutes(number)).collect();
    let group = conversation(&world, [&ana, &ben], &times).await;
    (world, server, ana, group)
}

#[test]
fn pages_in_both_directions_have_no_gap() {
    test(async {
        let (_world, server, ana, group) = long_conversation().await;
        let client = server.client(&ana);
        let newest = page(&client, &group, json!({})).await;
        assert_eq!(newest.bodies, numbers(65..105), "the newest 40, oldest first");
        assert_eq!((&newest.info["hasPreviousPage"], &newest.info["hasNextPage"]), (&json!(true), &json!(false)));

        let mut forward = Vec::new();
        let mut after = Value::Null;
        loop {
            let next = page(&client, &group, json!({ "first": 10, "after": after })).await;
            forward.extend(next.bodies);
            assert_eq!(next.info["hasPreviousPage"], json!(!after.is_null()));
            after = next.info["endCursor"].clone();
            if next.info["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(forward, numbers(0..105));

        let mut backward = Vec::new();
        let mut before = Value::Null;
        loop {
            let mut previous = page(&client, &group, json!({ "last": 10, "before": before })).await;
            previous.bodies.extend(backward);
            backward = previous.bodies;
            assert_eq!(previous.info["hasNextPage"], json!(!before.is_null()));
            before = previous.info["startCursor"].clone();
            if previous.info["hasPreviousPage"] == false {
                break;
            }
        }
        assert_eq!(backward, numbers(0..105));

        let ten = page(&client, &group, json!({ "first": 10 })).await;
        let (start, end) = (&ten.info["startCursor"], &ten.info["endCursor"]);
        assert_eq!(
            page(&client, &group, json!({ "first": 100, "after": start, "before": end })).await.bodies,
            numbers(1..9)
        );
        assert_eq!(
            page(&client, &group, json!({ "last": 3, "after": start, "before": end })).await.bodies,
            numbers(6..9)
        );
        assert_eq!(
            page(&client, &group, json!({ "first": 5, "after": end, "before": start })).await.bodies,
            numbers(0..0)
        );
        let none = page(&client, &group, json!({ "first": 0 })).await;
        assert_eq!((none.bodies, &none.info["hasNextPage"]), (vec![], &json!(true)));
    });
}

#[test]
fn a_time_window_includes_its_start_and_excludes_its_end() {
    test(async {
        let (_world, server, ana, group) = long_conversation().await;
        let client = server.client(&ana);
        for (from, to, range) in [
            ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 65..105),
            ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 20..60),
            ("2025-12-31T23:10:00Z", "2025-12-31T23:12:00Z", 10..12),
            ("2025-12-31T23:10:00.000001Z", "2025-12-31T23:12:00.0000001Z", 11..13),
            ("2026-01-01T01:10:00+02:00", "2026-01-01T01:12:00+02:00", 10..12),
            ("2025-12-31T23:10:00Z", "2025-12-31T23:10:00Z", 0..0),
            ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00", 0..0),
        ] {
            let found = page(&client, &group, json!({ "from": from, "to": to })).await;
            let expected = numbers(range);
            assert_eq!(found.bodies, expected, "{from} {to}");
        }
        let first = page(&client, &group, json!({ "first": 3, "from": "2026-01-01T00:00:00Z" })).await;
        assert_eq!(first.bodies, numbers(60..63));
        let next = json!({ "first": 3, "from": "2026-01-01T00:00:00Z", "after": first.info["endCursor"] });
        assert_eq!(page(&client, &group, next).await.bodies, numbers(63..66));
        assert_eq!(
            page(&client, &group, json!({ "last": 2, "to": "2025-12-31T23:02:00Z" })).await.bodies,
            numbers(0..2)
        );
        let backward = json!({ "group": group, "from": "2026-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z" });
        assert_eq!(client.error(MESSAGES, backward).await.1.as_deref(), Some("window_invalid"));
    });
}

#[test]
fn invalid_page_sizes_and_foreign_cursors_are_rejected() {
    test(async {
        let (world, server, ana, group) = long_conversation().await;
        let chloe = user("chloe").await;
        let elsewhere = conversation(&world, [&ana, &chloe], &[instant("2026-02-01T00:00:00Z")]).await;
        let client = server.client(&ana);
        let bad = |reason: &str| ("BAD_USER_INPUT".to_owned(), Some(reason.to_owned()));
        for arguments in
            [json!({ "first": -1 }), json!({ "first": 101 }), json!({ "last": 101 }), json!({ "first": 1, "last": 1 })]
        {
            let mut arguments = arguments;
            arguments["group"] = group.clone();
            assert_eq!(client.error(MESSAGES, arguments.clone()).await, bad("page_size_invalid"), "{arguments}");
        }
        for first in [-1, 101] {
            assert_eq!(client.error(GROUPS, json!({ "first": first })).await, bad("page_size_invalid"));
        }
        let of_messages = page(&client, &group, json!({ "first": 1 })).await.info["endCursor"].clone();
        let of_groups = client.data(GROUPS, json!({})).await["messageGroups"]["pageInfo"]["endCursor"].clone();
        for after in [json!("nonsense"), json!(""), of_messages.clone()] {
            assert_eq!(client.error(GROUPS, json!({ "after": after })).await, bad("cursor_invalid"));
        }
        for cursor in [json!("nonsense"), json!(""), of_groups] {
            assert_eq!(client.error(MESSAGES, json!({ "group": group, "after": cursor })).await, bad("cursor_invalid"));
            assert_eq!(
                client.error(MESSAGES, json!({ "group": group, "before": cursor })).await,
                bad("cursor_invalid")
            );
        }
        let foreign = json!({ "group": elsewhere, "after": of_messages });
        assert_eq!(client.error(MESSAGES, foreign).await, bad("cursor_invalid"));
    });
}

#[test]
fn message_groups_are_sorted_by_last_reply_and_pages_have_no_gap() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let mut expected = Vec::new();
        // The times span a new year, at which the legacy system lost conversations.
        let begin = instant("2025-12-31T12:00:00Z");
        for number in 0..25 {
            let other = user("friend").await;
            expected.push(conversation(&world, [&ana, &other], &[begin + TimeDelta::hours(number)]).await);
        }
        expected.reverse();
        let client = server.client(&ana);
        let default = client.data(GROUPS, json!({})).await;
        assert_eq!(default["messageGroups"]["nodes"].as_array().map(Vec::len), Some(20));
        for size in [1, 7, 25, 100] {
            let found: Vec<Value> = client.groups(size).await.iter().map(|group| group["uuid"].clone()).collect();
            assert_eq!(found, expected, "in pages of {size}");
        }
    });
}

#[test]
fn a_cursor_is_valid_on_another_server() {
    test(async {
        let (world, server, ana, group) = long_conversation().await;
        let first = page(&server.client(&ana), &group, json!({ "first": 10 })).await;
        server.shutdown.finish().await;
        let other = world.server().await;
        let next = page(&other.client(&ana), &group, json!({ "first": 10, "after": first.info["endCursor"] })).await;
        assert_eq!(next.bodies, numbers(10..20));
    });
}

#[test]
fn a_page_can_be_larger_than_one_dynamodb_response() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let mut sent = Vec::new();
        let mut group = Value::Null;
        for number in 0..100 {
            let body = format!("{number} {}", "\u{1f600}".repeat(1000));
            group = client.send_to(&ben, &body).await["messageGroup"]["uuid"].clone();
            sent.push(body);
        }
        assert_eq!(client.bodies(&group).await, sent);
    });
}

#[test]
fn me_and_user() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let query = "query ($handle: String!) { me { uuid handle displayName } user(handle: $handle) { handle } }";
        let data = client.data(query, json!({ "handle": ben.handle() })).await;
        assert_eq!(data["me"]["uuid"], ana.uuid().to_string());
        assert_eq!(data["me"]["displayName"], "ana the tester");
        assert_eq!(data["user"]["handle"], ben.handle());
        for none in ["nobody", "", "nul\u{0}", &ben.handle().to_uppercase()] {
            assert_eq!(client.data(query, json!({ "handle": none })).await["user"], Value::Null);
        }
        assert_eq!(client.execute(CREATE, json!({})).await["data"], Value::Null);
    });
}

/// After the first request, users are cached and the fast path resolves objects without the engine.
#[test]
fn the_fast_path_and_the_engine_give_the_same_response() {
    test(async {
        let world = World::new().await;
        let (ana, ben, cleo) = (user("ana").await, user("ben").await, user("cleo").await);
        let writer = world.server().await;
        writer.client(&ben).send_to(&ana, "from ben \u{1F4AC} \"quoted\"").await;
        let group = writer.client(&ana).send_to(&cleo, "to cleo").await["messageGroup"]["uuid"].clone();
        let query = "query Everything($group: UUID!, $no: Boolean!) {
            messageGroups {
                __typename
                edges { cursor node { ...Group last: lastMessageAt } }
                nodes {
                    __typename uuid uuid
                    lastMessage { ...Message }
                    lastMessage { sent: createdAt }
                    ... on MessageGroup { participants { __typename ... { uuid } handle } participants { displayName } }
                    ... @include(if: $no) { never: uuid }
                    other: otherParticipant { name: displayName @skip(if: $no) uuid @include(if: $no) }
                }
                pageInfo { startCursor endCursor hasNextPage hasPreviousPage }
            }
            one: messageGroup(uuid: $group) { ...Group messages(last: 2) { nodes { ...Message author { handle } } } }
            me { ...User }
            user(handle: \"nobody\") { ...User }
        }
        fragment Group on MessageGroup { uuid lastMessage { ...Message author { ...User } } otherParticipant { ...User } }
        fragment Message on Message { __typename body uuid messageGroupUuid createdAt }
        fragment User on User { displayName handle uuid __typename }";
        let small = "{ messageGroups { nodes { uuid lastMessageAt participants { uuid handle displayName __typename }
            otherParticipant { handle } lastMessage { uuid body createdAt author { handle } } } } }";
        for query in [query, small] {
            // The first request finds an empty user cache, the second one a filled cache.
            let client = world.server().await.client(&ana);
            let request = json!({ "query": query, "variables": { "group": group, "no": false } });
            let fetch = async || client.post().json(&request).send().await.expect("a response").text().await;
            let (read, cached) = (fetch().await.expect("a text"), fetch().await.expect("a text"));
            assert_eq!(read, cached, "the responses are equal, including the order of keys");
            let read: Value = serde_json::from_str(&read).expect("JSON");
            assert_eq!(read["data"]["messageGroups"]["nodes"].as_array().map(Vec::len), Some(2), "{read}");
        }
    });
}

#[test]
fn an_error_in_a_list_has_the_path_of_its_field() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        client.send_to(&ben, "one").await;
        for (query, path) in [
            (
                "{ messageGroups { nodes { uuid m: messages(first: 101) { nodes { uuid } } } } }",
                json!(["messageGroups", "nodes", 0, "m"]),
            ),
            (
                "{ messageGroups { edges { node { messages(last: 1) { edges { node { uuid } } } m: messages(first: 101) { nodes { uuid } } } } } }",
                json!(["messageGroups", "edges", 0, "node", "m"]),
            ),
        ] {
            let answer = client.execute(query, json!({})).await;
            assert_eq!(answer["errors"][0]["path"], path, "{answer}");
        }
    });
}

/// Two reads of a list that changes meanwhile would mix their results.
#[test]
fn a_field_that_is_selected_twice_is_read_once() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let sent = client.send_to(&ben, "one").await;
        let group = &sent["messageGroup"]["uuid"];
        let plain = "query Q($group: UUID!) {
            messageGroups { nodes { uuid lastMessage { body uuid } messages { nodes { uuid body } } } }
            one: messageGroup(uuid: $group) { otherParticipant { handle } uuid }
        }";
        let send = async |document: &str| {
            let request = client.post().json(&json!({ "query": document, "variables": { "group": group } }));
            request.send().await.expect("a response").text().await.expect("a text")
        };
        let wanted = send(plain).await;
        assert!(wanted.contains("\"one\""), "{wanted}");
        let repeated = "query Q($group: UUID!) {
            messageGroups { nodes { uuid ...Last messages { nodes { uuid } } } }
            ...Groups
            one: messageGroup(uuid: $group) { otherParticipant { handle } }
            one: messageGroup(uuid: $group) @include(if: true) { uuid never: uuid @include(if: false) }
        }
        fragment Groups on Query { messageGroups { nodes { ...Last messages { nodes { body } } } } }
        fragment Last on MessageGroup { lastMessage { body } lastMessage { uuid } }";
        let conditional = repeated
            .replace("UUID!)", "UUID!, $yes: Boolean = true, $no: Boolean = false)")
            .replace("@include(if: true)", "@include(if: $yes)")
            .replace("@include(if: false)", "@skip(if: $yes) @include(if: $no)");
        for document in [repeated, &conditional, &conditional] {
            let before = world.proxy.calls("Query");
            assert_eq!(send(document).await, wanted, "keys have the order of their first selection");
            assert_eq!(world.proxy.calls("Query") - before, 3, "the list, its messages and the group");
        }
        let other = json!({ "group": group, "yes": false, "no": true });
        let one = &client.data(&conditional, other).await["one"];
        assert_eq!(one, &json!({ "otherParticipant": { "handle": ben.handle() } }));
        // Directives remove all fields of some or of all objects.
        for (document, data) in [
            (
                "query($no: Boolean = false) { me @include(if: $no) { uuid } me @include(if: $no) { handle } }",
                json!({}),
            ),
            (
                "query($no: Boolean = false) { me { ...F @include(if: $no) } ...M } \
                 fragment M on Query { me { ... @include(if: $no) { uuid } } } fragment F on User { handle }",
                json!({ "me": {} }),
            ),
            (
                "query($no: Boolean = false) { messageGroups { nodes { ...N } ...C } ...M } \
                 fragment M on Query { messageGroups { nodes { ...N } } } fragment N on MessageGroup { uuid @include(if: $no) } \
                 fragment C on MessageGroupConnection { pageInfo { hasNextPage @skip(if: true) } }",
                json!({ "messageGroups": { "nodes": [{}], "pageInfo": {} } }),
            ),
        ] {
            assert_eq!(client.data(document, json!({})).await, data, "{document}");
        }
        let twice = "{ user(handle: \"ana\") { uuid } user(handle: \"ana\") { handle } }";
        let refused = server.anonymous().execute(twice, json!({})).await;
        assert_eq!(refused["errors"].as_array().map(Vec::len), Some(1), "{refused}");
        assert_eq!(refused["errors"][0]["locations"], json!([{ "line": 1, "column": 3 }]), "{refused}");
    });
}
