//! Operations over WebSocket: results, errors, ids, and operations that the client stops.

use serde_json::{Value, json};

use crate::harness::client::CREATE;
use crate::harness::live::{FEED, ready};
use crate::harness::websocket::{Socket, complete, ping, pong, subscribe, texts};
use crate::harness::{Server, TestUser, World, eventually, test, user};

const TYPENAME: &str = "{ __typename }";
const LIST: &str = "{ messageGroups { nodes { uuid } } }";

/// A user with a socket, and another user.
struct Talk {
    world: World,
    server: Server,
    ana: TestUser,
    ben: TestUser,
    socket: Socket,
}

impl Talk {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let socket = Socket::acknowledged(server.address, &ana.token).await;
        Self { world, server, ana, ben, socket }
    }

    /// Executes `{ __typename }` under this id.
    async fn works(&mut self, id: &str) {
        self.socket.subscribe(id, TYPENAME, json!({})).await;
        assert_eq!(self.socket.next(id).await, json!({ "data": { "__typename": "Query" } }));
        self.socket.completed(id).await;
    }
}

#[test]
fn queries_and_mutations_have_one_result() {
    test(async {
        let mut talk = Talk::new().await;
        talk.socket.subscribe("1", TYPENAME, json!({})).await;
        let result = json!({ "id": "1", "type": "next", "payload": { "data": { "__typename": "Query" } } });
        assert_eq!(talk.socket.receive().await, result);
        assert_eq!(talk.socket.receive().await, json!({ "id": "1", "type": "complete" }));

        let variables = json!({ "to": { "handle": talk.ben.handle() }, "body": "over a socket" });
        talk.socket.subscribe("a long id: ümläut \" 7", CREATE, variables).await;
        let sent = talk.socket.next("a long id: ümläut \" 7").await["data"]["createMessage"].clone();
        talk.socket.completed("a long id: ümläut \" 7").await;
        let of_ben = talk.server.client(&talk.ben);
        assert_eq!(of_ben.bodies(&sent["messageGroup"]["uuid"]).await, ["over a socket"]);

        let payload = json!({
            "query": "query A($handle: String!) { user(handle: $handle) { handle } } query B { __typename }",
            "operationName": "A", "variables": { "handle": talk.ben.handle() }, "extensions": { "trace": 7 }, "other": [],
        });
        talk.socket.send(&json!({ "id": "1", "type": "subscribe", "payload": payload, "other": 7 })).await;
        assert_eq!(talk.socket.next("1").await["data"]["user"]["handle"], talk.ben.handle());
        talk.socket.completed("1").await;
        let nulls = json!({ "query": TYPENAME, "operationName": null, "variables": null, "extensions": null });
        talk.socket.send(&json!({ "id": "1", "type": "subscribe", "payload": nulls })).await;
        assert_eq!(talk.socket.next("1").await["data"]["__typename"], "Query");
        talk.socket.completed("1").await;

        // The error of a field is part of a result.
        let unknown = "{ messages(messageGroupUuid: \"6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57\") { nodes { uuid } } }";
        talk.socket.subscribe("1", unknown, json!({})).await;
        let failed = talk.socket.next("1").await;
        assert_eq!((failed.get("data"), failed["errors"].as_array().map(Vec::len)), (Some(&Value::Null), Some(1)));
        assert_eq!(failed["errors"][0]["extensions"]["code"], "NOT_FOUND");
        talk.socket.completed("1").await;
        talk.socket.nothing_more().await;
    });
}

#[test]
fn a_request_error_ends_only_its_operation() {
    test(async {
        let mut talk = Talk::new().await;
        let handle = "query ($handle: String!) { user(handle: $handle) { handle } }";
        for (query, variables) in [
            ("{ __typename", json!({})),
            ("", json!({})),
            ("{ nothing }", json!({})),
            ("subscription { nothing }", json!({})),
            ("subscription { feed { cursor } activity { __typename } }", json!({})),
            ("subscription { a: feed { cursor } b: feed { cursor } }", json!({})),
            ("subscription { ...F } fragment F on Subscription { feed { cursor } activity { __typename } }", json!({})),
            ("subscription { __typename }", json!({})),
            ("subscription { feed }", json!({})),
            ("query A { __typename } query B { __typename }", json!({})),
            (handle, json!({})),
            (handle, json!({ "handle": null })),
            (handle, json!({ "handle": ["ana"] })),
            (FEED, json!({ "after": 7 })),
            (CREATE, json!({ "to": {}, "body": "x" })),
        ] {
            talk.socket.subscribe("1", query, variables.clone()).await;
            let message = talk.socket.receive().await;
            assert!(message["type"] == "error" && message["id"] == "1", "{query} {variables}: {message}");
            let errors = message["payload"].as_array().expect("errors");
            let is_bad_input = |error: &Value| error["extensions"]["code"] == "BAD_USER_INPUT";
            assert!(errors.iter().all(is_bad_input), "{query} {variables}: {message}");
            // Nothing follows, and the id is free.
            talk.works("1").await;
        }
        for (payload, reason) in [
            (json!({ "query": TYPENAME, "operationName": "Other" }), "request_invalid"),
            (json!({ "query": FEED, "variables": { "after": "nonsense" } }), "cursor_invalid"),
            (
                json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } } }),
                "persisted_query_not_found",
            ),
        ] {
            talk.socket.send(&json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
            let (_, found) = talk.socket.error("1").await;
            assert_eq!(found.as_deref(), Some(reason), "{payload}");
            talk.works("1").await;
        }
        talk.socket.nothing_more().await;
    });
}

#[test]
fn operations_run_at_the_same_time() {
    test(async {
        let mut talk = Talk::new().await;
        talk.socket.subscribe("feed", FEED, json!({})).await;
        ready(&talk.socket.event("feed").await);
        talk.world.proxy.hold("Query");
        let before = talk.world.proxy.calls("Query");
        talk.socket.subscribe("slow", LIST, json!({})).await;
        eventually("that the query waits", || async { (talk.world.proxy.calls("Query") > before).then_some(()) }).await;
        let ids: Vec<String> = (0..5).map(|id| id.to_string()).collect();
        let messages: Vec<Value> = ids.iter().map(|id| subscribe(id, TYPENAME, json!({}))).collect();
        talk.socket.send_bytes(&texts(&messages)).await;
        let mut seen = Vec::new();
        for _ in 0..2 * ids.len() {
            let message = talk.socket.receive().await;
            let id = message["id"].as_str().expect("an id").to_owned();
            assert!(message["type"] == "next" || seen.contains(&(id.clone(), json!("next"))), "{message}");
            seen.push((id, message["type"].clone()));
        }
        seen.sort_by_key(|(id, kind)| (id.clone(), kind.to_string()));
        let expected = ids.iter().flat_map(|id| ["complete", "next"].map(|kind| (id.clone(), json!(kind))));
        assert_eq!(seen, expected.collect::<Vec<_>>());
        talk.socket.nothing_more().await;
        talk.world.proxy.release("Query");
        assert_eq!(talk.socket.next("slow").await["data"]["messageGroups"]["nodes"], json!([]));
        talk.socket.completed("slow").await;
    });
}

#[test]
fn an_id_is_free_after_its_operation() {
    test(async {
        let mut talk = Talk::new().await;
        for _ in 0..3 {
            talk.works("1").await;
            talk.socket.subscribe("1", "{ nothing }", json!({})).await;
            talk.socket.error("1").await;
            talk.socket.subscribe("1", FEED, json!({})).await;
            ready(&talk.socket.event("1").await);
            // The client need not wait.
            let next = subscribe("1", TYPENAME, json!({}));
            talk.socket.send_bytes(&texts(&[complete("1"), next])).await;
            assert_eq!(talk.socket.next("1").await, json!({ "data": { "__typename": "Query" } }));
            talk.socket.completed("1").await;
        }
        // Another socket of the user has ids of its own.
        let mut other = Socket::acknowledged(talk.server.address, &talk.ana.token).await;
        for socket in [&mut talk.socket, &mut other] {
            socket.subscribe("1", FEED, json!({})).await;
            ready(&socket.event("1").await);
        }
    });
}

#[test]
fn complete_for_an_id_that_is_not_in_use_is_ignored() {
    test(async {
        let mut talk = Talk::new().await;
        let messages = [complete("1"), complete("1"), ping(1), complete("never used"), ping(2)];
        talk.socket.send_bytes(&texts(&messages)).await;
        assert_eq!([talk.socket.receive().await, talk.socket.receive().await], [pong(1), pong(2)]);
        talk.works("1").await;
        talk.socket.send(&complete("1")).await;
        talk.works("1").await;
        talk.socket.nothing_more().await;
        // Fields that the message does not have are ignored.
        talk.socket.send(&json!({ "type": "complete", "id": "1", "payload": [7] })).await;
        talk.socket.nothing_more().await;
    });
}

#[test]
fn a_stopped_subscription_delivers_nothing_more() {
    test(async {
        let mut talk = Talk::new().await;
        let _consumer = talk.world.consumer();
        for id in ["stopped", "kept"] {
            talk.socket.subscribe(id, FEED, json!({})).await;
            ready(&talk.socket.event(id).await);
        }
        talk.socket.send(&complete("stopped")).await;
        // There is no echo.
        talk.socket.nothing_more().await;
        let of_ben = talk.server.client(&talk.ben);
        for body in ["one", "two"] {
            of_ben.send_to(&talk.ana, body).await;
            assert_eq!(talk.socket.event("kept").await["message"]["body"], body);
        }
        talk.socket.nothing_more().await;
        talk.works("stopped").await;
    });
}

#[test]
fn a_stopped_query_delivers_no_result() {
    test(async {
        let mut talk = Talk::new().await;
        talk.world.proxy.hold("Query");
        let before = talk.world.proxy.calls("Query");
        talk.socket.subscribe("stopped", LIST, json!({})).await;
        eventually("that the query waits", || async { (talk.world.proxy.calls("Query") > before).then_some(()) }).await;
        talk.socket.send(&complete("stopped")).await;
        talk.socket.nothing_more().await;
        talk.works("stopped").await;
        talk.world.proxy.release("Query");
        // A later query of the same kind has its result, so the first one would have had it too.
        talk.socket.subscribe("later", LIST, json!({})).await;
        assert_eq!(talk.socket.next("later").await["data"]["messageGroups"]["nodes"], json!([]));
        talk.socket.completed("later").await;
        talk.socket.nothing_more().await;
    });
}

#[test]
fn a_subscription_that_is_stopped_while_it_starts_delivers_nothing() {
    test(async {
        let mut talk = Talk::new().await;
        let _consumer = talk.world.consumer();
        for _ in 0..10 {
            // The feed may be ready before the server reads the second message.
            talk.socket.send_bytes(&texts(&[subscribe("1", FEED, json!({})), complete("1"), ping(1)])).await;
            let first = talk.socket.receive().await;
            if first["type"] == "next" {
                assert_eq!(first["id"], "1");
                assert_eq!(talk.socket.receive().await, pong(1));
            } else {
                assert_eq!(first, pong(1));
            }
        }
        talk.socket.subscribe("kept", FEED, json!({})).await;
        ready(&talk.socket.event("kept").await);
        talk.server.client(&talk.ben).send_to(&talk.ana, "hello").await;
        assert_eq!(talk.socket.event("kept").await["message"]["body"], "hello");
        talk.socket.nothing_more().await;
    });
}

#[test]
fn persisted_documents_work_over_a_socket() {
    test(async {
        let mut talk = Talk::new().await;
        // The SHA-256 hash of the document.
        let hash = "7f56e67dd21ab3f30d1ff8b7bed08893f0a0db86449836189b361dd1e56ddb4b";
        let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
        for payload in [json!({ "query": TYPENAME, "extensions": persisted }), json!({ "extensions": persisted })] {
            talk.socket.send(&json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
            assert_eq!(talk.socket.next("1").await["data"]["__typename"], "Query");
            talk.socket.completed("1").await;
        }
    });
}
