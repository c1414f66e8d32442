//! The maximum size of a response. It is counted while the response is built, so most of a larger one is never built.

use cruddur_messaging::config::HttpLimits;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::client::{CREATE, code_and_reason};
use crate::harness::{Client, Server, TestUser, World, test, user};
use crate::stopping::served_with;

fn too_large() -> (String, Option<String>) {
    ("BAD_USER_INPUT".to_owned(), Some("max_response_exceeded".to_owned()))
}

async fn limited(world: &World, bytes: usize) -> Server {
    world.server_where(|parts| parts.requests.http.response_bytes = bytes).await
}

/// A conversation of `count` messages with the same text. Both users write.
async fn conversation(world: &World, [ana, ben]: [&TestUser; 2], count: usize, text: &str) -> Value {
    let server = world.server().await;
    let clients = [(server.client(ana), ben), (server.client(ben), ana)];
    let mut group = Value::Null;
    for number in 0..count {
        let (client, other) = &clients[number % 2];
        group = client.send_to(other, text).await["messageGroup"]["uuid"].clone();
    }
    group
}

async fn all_bodies(client: &Client, group: &Value, last: usize) -> Value {
    let query = "query ($group: UUID!, $last: Int) {
        messages(messageGroupUuid: $group, last: $last) { nodes { body author { handle } } } }";
    client.execute(query, json!({ "group": group, "last": last })).await
}

#[test]
fn a_response_that_is_too_large_is_an_error_without_data() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = conversation(&world, [&ana, &ben], 20, &"x".repeat(1_000)).await;
        let server = limited(&world, 16_000).await;
        let client = server.client(&ana);
        assert_eq!(all_bodies(&client, &group, 10).await["data"]["messages"]["nodes"][9]["body"], "x".repeat(1_000));
        let answer = all_bodies(&client, &group, 20).await;
        assert_eq!(code_and_reason(&answer), too_large());
        assert_eq!(answer.get("data"), None, "{answer}");
        let message = answer["errors"][0]["message"].as_str().expect("a message");
        assert!(message.contains("16000 bytes"), "{message}");
        // Nullable fields do not keep the error to themselves.
        let aliases: String =
            (0..20).map(|it| format!("g{it}: messageGroup(uuid: $group) {{ lastMessage {{ body }} }} ")).collect();
        let nullable = format!("query ($group: UUID!) {{ {aliases} }}");
        let answer = client.execute(&nullable, json!({ "group": group })).await;
        assert_eq!((code_and_reason(&answer), answer.get("data")), (too_large(), None));
        for (accept, status) in
            [("application/json", StatusCode::OK), ("application/graphql-response+json", StatusCode::BAD_REQUEST)]
        {
            let body = json!({ "query": nullable, "variables": { "group": group } });
            let answer = client.post().header("accept", accept).json(&body).send().await.expect("a response");
            assert_eq!(answer.status(), status, "{accept}");
        }
        assert_eq!(client.data("{ me { handle } }", json!({})).await["me"]["handle"], ana.handle());
    });
}

/// Quotes and control characters are longer in JSON, and an alias repeats a text.
#[test]
fn the_size_is_that_of_the_json_and_aliases_count() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let server = limited(&world, 16_000).await;
        let client = server.client(&ana);
        let group = conversation(&world, [&ana, &ben], 4, &"\u{1}".repeat(1_000)).await;
        assert_eq!(code_and_reason(&all_bodies(&client, &group, 3).await), too_large(), "6,000 bytes for each text");
        all_bodies(&client, &group, 2).await["data"]["messages"].as_object().expect("data");
        let aliased = |count: usize| {
            let aliases: String = (0..count).map(|it| format!("b{it}: body ")).collect();
            format!("{{ messageGroups {{ nodes {{ lastMessage {{ {aliases} }} }} }} }}")
        };
        client.data(&aliased(2), json!({})).await;
        assert_eq!(client.error(&aliased(3), json!({})).await, too_large());
    });
}

/// A value that is tried on the fast path and then resolved by the engine counts once.
#[test]
fn the_fast_path_and_the_engine_count_the_same() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = conversation(&world, [&ana, &ben], 30, &"x".repeat(1_000)).await;
        for (bytes, fits) in [(48_000, true), (40_000, false)] {
            let server = limited(&world, bytes).await;
            let client = server.client(&ana);
            // The user cache is empty at the first request, then it has both users.
            for cache in ["empty", "filled"] {
                let answer = all_bodies(&client, &group, 30).await;
                assert_eq!(answer.get("errors").is_none(), fits, "{bytes} bytes, {cache} cache");
                client.data("{ messageGroups { nodes { participants { handle } } } }", json!({})).await;
            }
        }
    });
}

#[test]
fn nothing_more_is_read_for_a_response_that_is_too_large() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        let writer = world.server().await;
        for _ in 0..60 {
            writer.client(&user("friend").await).send_to(&ana, &"x".repeat(1_000)).await;
        }
        let client = limited(&world, 16_000).await.client(&ana);
        let before = world.proxy.calls("Query");
        let query = "{ messageGroups(first: 60) { nodes { messages { nodes { body } } } } }";
        assert_eq!(client.error(query, json!({})).await, too_large());
        let reads = world.proxy.calls("Query") - before;
        // The list, the pages that fit, and those that were being read.
        assert!((10..=1 + 16 + 16).contains(&reads), "{reads} reads");
    });
}

/// The error of a nullable field does not end the others, but the response that is too large does.
#[test]
fn a_response_that_is_too_large_waits_for_no_other_field() {
    test(async {
        let world = World::new().await;
        let ana = user("ana").await;
        let limits = HttpLimits { response_bytes: 2_000, request_timeout_ms: 4_000, ..HttpLimits::default() };
        let client = world.server_where(|parts| parts.requests.http = limits).await.client(&ana);
        // The list never comes. The request would end with `request_timeout`, before the time limit of the call.
        world.proxy.hold("Query");
        let aliases: String = (0..30).map(|it| format!("h{it}: handle ")).collect();
        let query = format!(
            "query ($handle: String!) {{ messageGroups {{ nodes {{ uuid }} }} user(handle: $handle) {{ {aliases} }} }}"
        );
        assert_eq!(client.error(&query, json!({ "handle": ana.handle() })).await, too_large());
    });
}

#[test]
fn the_error_says_that_a_message_was_stored_and_no_other_message_is_stored() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = limited(&world, 8_000).await.client(&ana);
        let send = |name: &str| {
            let bodies: String = (0..8).map(|it| format!("b{it}: body ")).collect();
            format!(
                "{name}: createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"{}\" }}) {{ message {{ {bodies} }} }}",
                ben.handle(),
                "x".repeat(1_000)
            )
        };
        let answer = client.execute(&format!("mutation {{ {} {} }}", send("first"), send("second")), json!({})).await;
        assert_eq!((code_and_reason(&answer), answer.get("data")), (too_large(), None));
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["outcome"], "STORED", "{answer}");
        assert!(error["message"].as_str().is_some_and(|it| it.contains("has been stored")), "{answer}");
        let group = &client.groups(1).await[0]["uuid"];
        assert_eq!(client.bodies(group).await.len(), 1);
        // A response that fits.
        client.data(CREATE, json!({ "to": { "handle": ben.handle() }, "body": "short" })).await;
    });
}

#[test]
fn a_response_that_is_too_large_is_counted_in_the_metrics() {
    test(async {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let served =
            served_with(&[("METRICS_ADDR", &address.to_string()), ("GRAPHQL_MAX_RESPONSE_BYTES", "1024")]).await;
        let aliases: String = (0..20).map(|it| format!("h{it}: handle ")).collect();
        let refused = served.client.error(&format!("{{ me {{ {aliases} }} }}"), json!({})).await;
        assert_eq!(refused, too_large());
        let numbers = reqwest::get(format!("http://{address}/metrics")).await.expect("metrics").text().await;
        let counted = "limits_reached_total{limit=\"GRAPHQL_MAX_RESPONSE_BYTES\"} 1";
        assert!(numbers.as_ref().is_ok_and(|numbers| numbers.contains(counted)), "{numbers:?}");
    });
}
