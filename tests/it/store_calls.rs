//! How many calls to DynamoDB a request makes, and how many of them are concurrent.

use cruddur_messaging::messages_table::CALLS_OF_REQUEST;
use serde_json::{Value, json};

use crate::harness::fault_proxy::Fault::Answer;
use crate::harness::fault_proxy::INDEX_QUERY;
use crate::harness::legacy::LegacyGroup;
use crate::harness::{Client, TestUser, World, eventually, test, user};

/// Writes a conversation of `ana` with each of `count` users.
async fn conversations(world: &World, ana: &TestUser, count: usize) {
    let server = world.server().await;
    for _ in 0..count {
        server.client(&user("friend").await).send_to(ana, "hello").await;
    }
}

/// Pages of one group that all differ.
fn different_pages(count: usize) -> String {
    let pages =
        (1..=count).map(|it| format!("p{it}: messages(messageGroupUuid: $group, last: {it}) {{ nodes {{ body }} }} "));
    format!("query ($group: UUID!) {{ {} }}", pages.collect::<String>())
}

#[test]
fn the_messages_of_listed_groups_are_one_bounded_read_for_each_group() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        conversations(&world, &ana, 60).await;
        // A server whose caches are empty.
        let client = world.server().await.client(&ana);
        let (queries, all) = (world.proxy.calls("Query"), world.proxy.all_calls());
        let aliases: String = (0..18).map(|it| format!("m{it}: messages(last: 1) {{ nodes {{ body }} }} ")).collect();
        let query = format!("{{ messageGroups(first: 60) {{ nodes {{ uuid {aliases} }} }} }}");
        let data = client.data(&query, json!({})).await;
        let nodes = data["messageGroups"]["nodes"].as_array().expect("nodes");
        assert_eq!(nodes.len(), 60);
        for node in nodes {
            assert!((0..18).all(|it| node[format!("m{it}")]["nodes"] == json!([{ "body": "hello" }])), "{node}");
        }
        assert_eq!(world.proxy.calls("Query") - queries, 61, "the list, and a page for each group");
        assert_eq!(world.proxy.all_calls() - all, 61, "a row of the list proves the membership");
        let most = world.proxy.most_concurrent_calls();
        assert!((2..=CALLS_OF_REQUEST).contains(&most), "{most} concurrent calls");
    });
}

#[test]
fn identical_reads_of_a_request_are_one_read() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        conversations(&world, &ana, 2).await;
        let client = world.server().await.client(&ana);
        let group = client.groups(1).await[0]["uuid"].clone();
        let client = world.server().await.client(&ana);
        let calls = async |query: &str| {
            let before = [world.proxy.calls("Query"), world.proxy.calls("GetItem")];
            let data = client.data(query, json!({ "group": group })).await;
            let fields: Vec<&Value> = data.as_object().expect("data").values().collect();
            assert!(fields.iter().all(|it| *it == fields[0]), "{data}");
            [world.proxy.calls("Query") - before[0], world.proxy.calls("GetItem") - before[1]]
        };
        let repeated = |count: usize, field: &str| {
            let fields: String = (0..count).map(|it| format!("f{it}: {field} ")).collect();
            format!("query ($group: UUID!) {{ {fields} }}")
        };
        let group_field = "messageGroup(uuid: $group) { uuid lastMessage { body } }";
        assert_eq!(calls(&repeated(32, group_field)).await, [1, 2], "the group, its membership, and the marker once");
        let list: String = (0..32).map(|it| format!("f{it}: messageGroups {{ nodes {{ uuid }} }} ")).collect();
        assert_eq!(calls(&format!("{{ {list} }}")).await, [1, 0]);
        let page = "messages(messageGroupUuid: $group, first: 1) { nodes { body } }";
        assert_eq!(calls(&repeated(32, page)).await, [1, 0]);
        // The index once for each group, and the membership that is not cached, not once for each alias.
        let markers: String = (0..20).map(|it| format!("m{it}: otherReadCursor ")).collect();
        let markers = format!("messageGroups(first: 2) {{ nodes {{ {markers} }} }}");
        assert_eq!(calls(&format!("{{ {markers} }}")).await, [3, 1]);
        let unlike = "query ($group: UUID!) { a: messages(messageGroupUuid: $group, first: 1) { nodes { body } }
            b: messages(messageGroupUuid: $group, last: 1) { nodes { body } }
            c: messages(messageGroupUuid: $group, last: 1, createdFrom: \"2020-01-01T00:00:00Z\") { nodes { body } } }";
        assert_eq!(calls(unlike).await, [3, 0]);
        // Different pages of a group whose membership is not cached.
        let client = world.server().await.client(&ana);
        let before = world.proxy.calls("GetItem");
        client.data(&different_pages(5), json!({ "group": group })).await;
        assert_eq!(world.proxy.calls("GetItem") - before, 2, "the membership, and the marker once");
    });
}

#[test]
fn a_read_after_a_write_of_the_same_request_sees_the_write() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let send = |name: &str| {
            format!(
                "{name}: createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"{name}\" }}) \
                 {{ messageGroup {{ messages {{ nodes {{ body }} }} }} }}",
                ben.handle()
            )
        };
        let data = server.client(&ana).data(&format!("mutation {{ {} {} }}", send("a"), send("b")), json!({})).await;
        let bodies = |name: &str| data[name]["messageGroup"]["messages"]["nodes"].clone();
        assert_eq!(bodies("a"), json!([{ "body": "a" }]));
        assert_eq!(bodies("b"), json!([{ "body": "a" }, { "body": "b" }]));
    });
}

#[test]
fn the_error_of_a_shared_read_is_the_error_of_each_field() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        conversations(&world, &ana, 1).await;
        let client = world.server().await.client(&ana);
        let group = client.groups(1).await[0]["uuid"].clone();
        world.proxy.next("GetItem", [Answer(400, "AccessDeniedException")]);
        let before = world.proxy.calls("GetItem");
        let query =
            "query ($group: UUID!) { a: messageGroup(uuid: $group) { uuid } b: messageGroup(uuid: $group) { uuid } }";
        let answer = client.execute(query, json!({ "group": group })).await;
        assert_eq!(answer["data"], json!({ "a": null, "b": null }));
        let mut paths: Vec<_> =
            answer["errors"].as_array().expect("errors").iter().map(|it| it["path"][0].clone()).collect();
        paths.sort_by_key(Value::to_string);
        assert_eq!(paths, ["a", "b"], "{answer}");
        assert_eq!(world.proxy.calls("GetItem") - before, 1);
        client.data(query, json!({ "group": group })).await["a"]["uuid"]
            .as_str()
            .expect("the next request reads again");
    });
}

#[test]
fn the_calls_of_a_request_are_concurrent_up_to_the_limit() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        conversations(&world, &ana, 1).await;
        let client = world.server().await.client(&ana);
        let group = client.groups(1).await[0]["uuid"].clone();
        // Each of these calls waits for the others.
        world.proxy.gather("Query", CALLS_OF_REQUEST);
        client.data(&different_pages(32), json!({ "group": group })).await;
        assert_eq!(world.proxy.most_concurrent_calls(), CALLS_OF_REQUEST);
    });
}

#[test]
fn queries_wait_for_the_calls_of_other_queries_and_mutations_do_not() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        conversations(&world, &ana, 1).await;
        let server = world.server_where(|parts| parts.requests.http.store_calls = 8).await;
        let client = server.client(&ana);
        let group = client.groups(1).await[0]["uuid"].clone();
        world.proxy.hold("Query");
        let before = world.proxy.calls("Query");
        let read = |client: Client, group: Value| async move {
            client.data(&different_pages(16), json!({ "group": group })).await
        };
        let readers: Vec<_> = (0..3).map(|_| tokio::spawn(read(client.clone(), group.clone()))).collect();
        // Three quarters of the permits.
        eventually("the calls of queries", || async { (world.proxy.calls("Query") - before == 6).then_some(()) }).await;
        // The membership is not cached, so this reads and writes.
        client.send(json!({ "messageGroupUuid": group }), "does not wait").await;
        assert_eq!(world.proxy.calls("Query") - before, 6);
        world.proxy.release("Query");
        for reader in readers {
            assert_eq!(reader.await.expect("a task").as_object().map(serde_json::Map::len), Some(16));
        }
        assert_eq!(world.proxy.most_concurrent_calls(), 7, "with a call of the mutation");
    });
}

#[test]
fn later_pages_of_legacy_rows_read_the_index_concurrently() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        let mut expected = Vec::new();
        for number in (0..40).rev() {
            let (friend, group) = (user("friend").await, LegacyGroup::new());
            let at = format!("2022-05-04T10:00:{number:02}");
            group.message(&world, &at, &friend, "hello").await;
            group.row(&world, &at, &ana, &friend, "hello").await;
            // Some have an older row, which belongs to no page.
            if number % 3 == 0 {
                group.row(&world, &format!("2022-05-03T10:00:{number:02}"), &ana, &friend, "stale").await;
            }
            expected.push(json!(group.uuid));
        }
        let client = world.server().await.client(&ana);
        let query = "query ($after: String) { messageGroups(first: 20, after: $after) { nodes { uuid }
            pageInfo { endCursor hasNextPage } } }";
        let first = client.data(query, json!({})).await["messageGroups"].clone();
        assert_eq!(world.proxy.calls(INDEX_QUERY), 0);
        // Each of these calls waits for the others.
        world.proxy.gather(INDEX_QUERY, CALLS_OF_REQUEST);
        let after = &first["pageInfo"]["endCursor"];
        let second = client.data(query, json!({ "after": after })).await["messageGroups"].clone();
        assert!(world.proxy.most_concurrent_calls() <= CALLS_OF_REQUEST);
        let nodes = [&first, &second].map(|page| page["nodes"].as_array().expect("nodes").clone()).concat();
        let listed: Vec<Value> = nodes.iter().map(|node| node["uuid"].clone()).collect();
        assert_eq!(listed, expected);
        let third = json!({ "after": second["pageInfo"]["endCursor"] });
        assert_eq!(
            client.data(query, third).await["messageGroups"]["nodes"],
            json!([]),
            "the stale rows are not listed"
        );
    });
}

#[test]
fn a_row_of_the_list_proves_the_membership_of_a_legacy_group() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = LegacyGroup::new();
        group.message(&world, "2022-05-04 10:42:39.5+05:30", &ben, "hello").await;
        group.row(&world, "2022-05-04 10:42:39.5+05:30", &ana, &ben, "hello").await;
        let client = world.server().await.client(&ana);
        let before = world.proxy.all_calls();
        let data = client.data("{ messageGroups { nodes { messages { nodes { body } } } } }", json!({})).await;
        assert_eq!(data["messageGroups"]["nodes"], json!([{ "messages": { "nodes": [{ "body": "hello" }] } }]));
        assert_eq!(world.proxy.all_calls() - before, 3, "the list, its newest message and the page");
    });
}
