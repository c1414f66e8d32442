//! Server-sent events over HTTP: the frames of graphql-sse's "distinct connections mode", resuming, and the end of a stream.

use bytes::Bytes;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::client::{CREATE, code_and_reason};
use crate::harness::connections::{Http2, QUERY, read};
use crate::harness::event_stream::EventStream;
use crate::harness::fault_proxy::{Fault, MESSAGES_QUERY};
use crate::harness::live::{FEED, delete_user, ready, token_expiring_in};
use crate::harness::websocket::Socket;
use crate::harness::{Client, DEADLINE, Pair, World, test, user};

/// A request whose response must be an event stream.
fn streamed(client: &Client, body: &Value) -> RequestBuilder {
    client.post().header("accept", "text/event-stream").json(body)
}

/// A stream that continues after the cursor that the client has received last.
async fn resumed(client: &Client, last: &Value, after: &Value) -> EventStream {
    let body = json!({ "query": FEED, "variables": { "after": after } });
    EventStream::open(streamed(client, &body).header("last-event-id", last.as_str().expect("a cursor"))).await
}

/// The bodies of `count` messages.
async fn bodies(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let event = stream.event().await;
        bodies.push(event["message"]["body"].as_str().unwrap_or_else(|| panic!("no message: {event}")).to_owned());
    }
    bodies
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn an_event_has_the_lines_that_the_protocol_defines() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, of_ana, of_ben, .. } = &pair;
        // The id does not depend on what the client selects.
        for query in ["subscription { feed { cursor } }", "subscription { it: feed { __typename } }"] {
            let mut stream = EventStream::start(of_ana, query, json!({})).await;
            let mut cursors = Vec::new();
            for number in 0..2 {
                if number > 0 {
                    of_ben.send_to(ana, "hello\nworld").await;
                }
                let lines = stream.lines().await.expect("an event");
                let [id, event, data] = &lines[..] else { panic!("{lines:?}") };
                assert_eq!(event, "event: next");
                let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
                let id = id.strip_prefix("id: ").expect("an id").to_owned();
                let kind = ["FeedReady", "MessageAdded"][number];
                let expected = if query.contains("it:") {
                    json!({ "data": { "it": { "__typename": kind } } })
                } else {
                    json!({ "data": { "feed": { "cursor": id } } })
                };
                assert_eq!(data, expected);
                cursors.push(json!(id));
            }
            let mut after_first = resumed(of_ana, &cursors[0], &Value::Null).await;
            assert_eq!(bodies(&mut after_first, 1).await, ["hello\nworld"]);
            ready(&resumed(of_ana, &cursors[1], &Value::Null).await.event().await);
        }
    });
}

#[test]
fn queries_and_mutations_have_one_event_and_are_complete() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let mut stream = EventStream::start(&client, "{ __typename }", json!({})).await;
        let lines = stream.lines().await.expect("an event");
        assert_eq!(lines, ["event: next", "data: {\"data\":{\"__typename\":\"Query\"}}"]);
        stream.completed().await;
        let variables = json!({ "to": { "handle": ben.handle() }, "body": "over a stream" });
        let mut stream = EventStream::start(&client, CREATE, variables).await;
        assert_eq!(stream.next().await["data"]["createMessage"]["message"]["body"], "over a stream");
        stream.completed().await;
        // The error of a field is part of the result.
        let mut stream = EventStream::start(&server.anonymous(), "{ __typename me { handle } }", json!({})).await;
        let result = stream.next().await;
        assert_eq!(result.get("data"), Some(&Value::Null));
        assert_eq!(code_and_reason(&result).0, "UNAUTHENTICATED");
        stream.completed().await;
    });
}

#[test]
fn a_subscription_that_cannot_start_has_one_event_with_errors() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (of_ana, of_ben) = (server.client(&ana), server.client(&ben));
        let foreign = of_ben.feed(&Value::Null, 1).await.end;
        let cursor_invalid = ("BAD_USER_INPUT".to_owned(), Some("cursor_invalid".to_owned()));
        let token_missing = ("UNAUTHENTICATED".to_owned(), Some("token_missing".to_owned()));
        let mut streams = vec![(EventStream::start(&server.anonymous(), FEED, json!({})).await, token_missing)];
        for after in [&json!("nonsense"), &json!(""), &foreign] {
            let stream = EventStream::start(&of_ana, FEED, json!({ "after": after })).await;
            streams.push((stream, cursor_invalid.clone()));
        }
        // The header wins over the argument.
        let own = of_ana.feed(&Value::Null, 1).await.end;
        for last in [&json!("nonsense"), &foreign] {
            streams.push((resumed(&of_ana, last, &own).await, cursor_invalid.clone()));
        }
        ready(&resumed(&of_ana, &own, &foreign).await.event().await);
        for (mut stream, expected) in streams {
            let result = stream.next().await;
            assert_eq!(result.get("data"), None, "{result}");
            assert_eq!(code_and_reason(&result), expected);
            stream.completed().await;
        }
    });
}

#[test]
fn a_subscription_over_get_is_a_stream_too() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, of_ana, of_ben, .. } = &pair;
        let end = of_ana.feed(&Value::Null, 1).await.end;
        let variables = json!({ "after": end }).to_string();
        let parameters = [("query", FEED), ("variables", variables.as_str()), ("operationName", "Feed")];
        let url = reqwest::Url::parse_with_params(&of_ana.url, parameters).expect("a URL");
        let request = of_ana.http.get(url).bearer_auth(&ana.token).header("accept", "text/event-stream");
        let mut stream = EventStream::open(request).await;
        ready(&stream.event().await);
        of_ben.send_to(ana, "hello").await;
        assert_eq!(bodies(&mut stream, 1).await, ["hello"]);
    });
}

#[test]
fn each_device_of_a_user_gets_the_same_events_and_a_third_user_none() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let _consumer = world.consumer();
        let [ana, ben, chloe] = [user("ana").await, user("ben").await, user("chloe").await];
        let [of_ana, of_ben, of_chloe] = [&ana, &ben, &chloe].map(|user| server.client(user));
        let start = of_ana.feed(&Value::Null, 1).await.end;
        let mut devices = Vec::new();
        for client in [&of_ana, &of_ana, &of_ben, &of_chloe] {
            let mut stream = EventStream::start(client, FEED, json!({})).await;
            ready(&stream.event().await);
            devices.push(stream);
        }
        for number in 0..10 {
            let (from, to) = if number % 2 == 0 { (&of_ana, &ben) } else { (&of_ben, &ana) };
            from.send_to(to, &number.to_string()).await;
        }
        let mut events = Vec::new();
        for stream in &mut devices[..3] {
            let mut of_device = Vec::new();
            for _ in 0..10 {
                of_device.push(stream.event().await);
            }
            events.push(of_device);
        }
        assert_eq!(events[0], events[1]);
        let uuids = |events: &[Value]| {
            events.iter().map(|event| event["message"]["uuid"].to_string()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(uuids(&events[0]).len(), 10);
        assert_eq!(uuids(&events[0]), uuids(&events[2]));
        let pulled = of_ana.next_events(&start, 10).await;
        let cursors = |events: &[Value]| events.iter().map(|event| event["cursor"].clone()).collect::<Vec<_>>();
        assert_eq!(cursors(&pulled.events), cursors(&events[0]));
        // The next event of chloe is her own.
        of_chloe.send_to(&ana, "from chloe").await;
        assert_eq!(bodies(&mut devices[3], 1).await, ["from chloe"]);
    });
}

#[test]
fn missed_messages_come_first_then_ready_then_new_ones() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, of_ana, of_ben, .. } = &pair;
        let start = of_ana.feed(&Value::Null, 1).await.end;
        let to = of_ben.send_to(ana, "0").await["messageGroup"]["uuid"].clone();
        for number in 1..120 {
            of_ben.send(json!({ "messageGroupUuid": to }), &number.to_string()).await;
        }
        of_ana.next_events(&start, 120).await;
        let mut stream = EventStream::start(of_ana, FEED, json!({ "after": start })).await;
        assert_eq!(bodies(&mut stream, 120).await, numbers(0..120));
        let cursor = ready(&stream.event().await);
        of_ben.send_to(ana, "120").await;
        assert_eq!(bodies(&mut stream, 1).await, ["120"]);
        // The header wins over the argument.
        let mut again = resumed(of_ana, &cursor, &start).await;
        assert_eq!(bodies(&mut again, 1).await, ["120"]);
        ready(&again.event().await);
    });
}

#[test]
fn streams_share_an_http_2_connection() {
    test(async {
        let pair = Pair::new().await;
        let Pair { server, ana, ben, of_ana, .. } = &pair;
        let mut connection = Http2::connect(server.address, 65_535).await;
        let mut streams = Vec::new();
        for user in [ana, ben] {
            let request = axum::http::Request::post("http://here/graphql").header("content-type", "application/json");
            let request = request.header("accept", "text/event-stream");
            let request = request.header("authorization", format!("Bearer {}", user.token)).body(());
            let mut requests = connection.requests.clone().ready().await.expect("an open connection");
            let (response, mut body) = requests.send_request(request.expect("a request"), false).expect("sent");
            body.send_data(Bytes::from(json!({ "query": FEED }).to_string()), true).expect("sent");
            let response = timeout(DEADLINE, response).await.expect("a response").expect("a response");
            assert_eq!(
                response.headers()["content-type"].to_str().expect("text").split(';').next(),
                Some("text/event-stream")
            );
            assert_eq!(response.headers().get("connection"), None);
            streams.push((response.into_body(), Vec::<u8>::new()));
        }
        for text in ["FeedReady", "over HTTP/2"] {
            for (body, received) in &mut streams {
                while !String::from_utf8_lossy(received).contains(text) {
                    let data = timeout(DEADLINE, body.data()).await.expect("data").expect("data").expect("data");
                    body.flow_control().release_capacity(data.len()).expect("a window");
                    received.extend_from_slice(&data);
                }
            }
            of_ana.send_to(ben, "over HTTP/2").await;
        }
        // A query on the same connection is not delayed.
        read(connection.unread(QUERY).await).await.expect("a body");
    });
}

#[test]
fn a_stream_ends_without_complete_when_its_token_expires() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let client = Client::new(server.address, Some(token_expiring_in(&ana, 6).await));
        let mut streams = Vec::new();
        // The second time, the server has the token in its cache.
        for _ in 0..2 {
            let mut stream = EventStream::start(&client, FEED, json!({})).await;
            ready(&stream.event().await);
            streams.push(stream);
        }
        let mut later = EventStream::start(&server.client(&ana), FEED, json!({})).await;
        ready(&later.event().await);
        for stream in &mut streams {
            stream.ended().await;
        }
        let _consumer = world.consumer();
        server.client(&user("ben").await).send_to(&ana, "hello").await;
        assert_eq!(bodies(&mut later, 1).await, ["hello"]);
    });
}

#[test]
fn a_stream_ends_without_complete_when_its_user_is_deleted() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let mut of_ana = EventStream::start(&server.client(&ana), FEED, json!({})).await;
        let mut of_ben = EventStream::start(&server.client(&ben), FEED, json!({})).await;
        for stream in [&mut of_ana, &mut of_ben] {
            ready(&stream.event().await);
        }
        delete_user(&ana).await;
        // Comments arrive in the meantime.
        of_ana.ended().await;
        let _consumer = world.consumer();
        server.client(&user("chloe").await).send_to(&ben, "hello").await;
        assert_eq!(bodies(&mut of_ben, 1).await, ["hello"]);
    });
}

#[test]
fn a_stream_ends_without_complete_at_shutdown_and_continues_on_another_server() {
    test(async {
        let world = World::new().await;
        let (first, second) = (world.server().await, world.server().await);
        let _consumer = world.consumer();
        let (ana, ben) = (user("ana").await, user("ben").await);
        let of_ben = second.client(&ben);
        let mut stream = EventStream::start(&first.client(&ana), FEED, json!({})).await;
        ready(&stream.event().await);
        of_ben.send_to(&ana, "before").await;
        let last = stream.event().await["cursor"].clone();
        let (finished, ()) = tokio::join!(first.shutdown.finish(), stream.ended());
        assert!(finished, "the stream delays the end of the process");
        of_ben.send_to(&ana, "meanwhile").await;
        second.client(&ana).next_events(&last, 1).await;
        let mut stream = resumed(&second.client(&ana), &last, &Value::Null).await;
        assert_eq!(bodies(&mut stream, 1).await, ["meanwhile"]);
    });
}

/// The cursor of the next event would hide that one is missing.
#[test]
fn a_subscription_ends_before_an_event_that_cannot_be_executed_at_the_moment() {
    test(async {
        const NESTED: &str =
            "subscription ($after: String) { feed(after: $after) { __typename cursor ... on MessageAdded {
            message { body } messageGroup { messages(last: 1) { nodes { body } } } } } }";
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let _consumer = world.consumer();
        let mut socket = Socket::acknowledged(server.address, &ana.token).await;
        socket.subscribe("1", NESTED, json!({})).await;
        assert_eq!(socket.event("1").await["__typename"], "FeedReady");
        let mut stream = EventStream::start(&server.client(&ana), NESTED, json!({})).await;
        let ready = stream.lines().await.expect("an event");
        let cursor = Value::from(ready[0].strip_prefix("id: ").expect("an id"));
        let throttled = Fault::Answer(400, "ProvisionedThroughputExceededException");
        world.proxy.next(MESSAGES_QUERY, vec![throttled; 50]);
        server.client(&ben).send_to(&ana, "hello").await;
        assert_eq!(stream.lines().await, None, "and no `complete`");
        assert_eq!(socket.error("1").await.0, "UNAVAILABLE");

        world.proxy.forget(MESSAGES_QUERY);
        let body = json!({ "query": NESTED });
        let request = streamed(&server.client(&ana), &body).header("last-event-id", cursor.as_str().expect("a cursor"));
        let event = EventStream::open(request).await.event().await;
        assert_eq!(event["message"]["body"], "hello");
        assert_eq!(event["messageGroup"]["messages"]["nodes"], json!([{ "body": "hello" }]));
    });
}
