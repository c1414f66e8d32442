//! The subprotocol `graphql-transport-ws`: the handshake, and messages that close the socket. Each offence closes it with its own
//! code, also if the client has sent further messages after it. Sources: `PROTOCOL.md` and `tests/server.test.ts` of graphql-ws.

use chrono::{DateTime, Utc};
use cruddur_messaging::embedded::issuer::LocalIssuer;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::harness::client::{CREATE, code_and_reason};
use crate::harness::connections::Raw;
use crate::harness::live::{FEED, ready, token_expiring_in};
use crate::harness::postgres_relay::relayed;
use crate::harness::websocket::{
    BINARY, FIN, Socket, TEXT, complete, frame, init, offer, ping, pong, subscribe, text, texts, upgrade_request,
};
use crate::harness::{DEADLINE, Server, TestUser, World, eventually, shared, test, user, user_in};

const TYPENAME: &str = "{ __typename }";

/// A server, and a user who tries to break it.
struct Attack {
    world: World,
    server: Server,
    ana: TestUser,
    ben: TestUser,
}

impl Attack {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().await;
        Self { world, server, ana: user("ana").await, ben: user("ben").await }
    }

    async fn acknowledged(&self) -> Socket {
        Socket::acknowledged(self.server.address, &self.ana.token).await
    }

    /// Valid messages, and some that would close the socket with other codes.
    fn later(&self) -> Vec<u8> {
        let to = json!({ "handle": self.ben.handle() });
        let mut later = texts(&[
            ping(1),
            subscribe("later", CREATE, json!({ "to": to, "body": "too late" })),
            subscribe("feed", FEED, json!({})),
            subscribe("feed", FEED, json!({})),
            complete("later"),
            init(&self.ana.token),
        ]);
        later.extend(frame(FIN | BINARY, b"binary"));
        later
    }

    /// Sends `offence` on the socket, first alone, then on another socket in one write with later messages. Returns the code and
    /// the reason, which are the same.
    async fn closed_by(&self, sockets: [Socket; 2], offence: &[u8]) -> (u16, String) {
        let [mut alone, mut followed] = sockets;
        alone.send_bytes(offence).await;
        followed.send_bytes(&[offence, &self.later()[..]].concat()).await;
        let closed = alone.closed().await;
        assert_eq!(followed.closed().await, closed, "with later messages");
        closed
    }

    /// The same for a socket that is signed in.
    async fn closes(&self, offence: &[u8]) -> (u16, String) {
        self.closed_by([self.acknowledged().await, self.acknowledged().await], offence).await
    }

    /// The same for a socket on which nothing was sent.
    async fn closes_at_once(&self, offence: &[u8]) -> (u16, String) {
        let open = async || Socket::open(self.server.address).await;
        self.closed_by([open().await, open().await], offence).await
    }

    /// No message after an offence was executed.
    fn end(&self) {
        assert_eq!(self.world.proxy.calls("TransactWriteItems"), 0);
    }
}

fn closed(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[test]
fn a_client_signs_in_with_its_first_message() {
    test(async {
        let server = World::new().await.server().await;
        let ana = user("ana").await;
        let claims = LocalIssuer::claims(&ana.cognito_user_id, Utc::now());
        let bearer = format!("Bearer {}", shared().await.issuer.sign(&claims).expect("a token"));
        for payload in [
            json!({ "Authorization": bearer }),
            json!({ "authorization": bearer }),
            json!({ "headers": { "Authorization": bearer } }),
            json!({ "headers": { "authorization": bearer }, "other": 7 }),
        ] {
            let mut socket = Socket::open(server.address).await;
            socket.send(&json!({ "type": "connection_init", "payload": payload })).await;
            let mut acknowledgement = socket.receive().await;
            let expires_at = acknowledgement["payload"]["expiresAt"].take();
            assert_eq!(acknowledgement, json!({ "type": "connection_ack", "payload": { "expiresAt": null } }));
            let expires_at = DateTime::parse_from_rfc3339(expires_at.as_str().expect("a time")).expect("RFC 3339");
            assert_eq!(json!(expires_at.timestamp()), claims["exp"]);
            socket.subscribe("1", "{ me { handle } }", json!({})).await;
            assert_eq!(socket.next("1").await["data"]["me"]["handle"], ana.handle(), "{payload}");
        }
    });
}

#[test]
fn a_client_without_a_valid_token_is_forbidden() {
    test(async {
        let attack = Attack::new().await;
        let unknown = shared().await.issuer.token(&Uuid::new_v4().to_string()).expect("a token");
        let expired = token_expiring_in(&attack.ana, -60).await;
        let token = &attack.ana.token;
        for payload in [
            Value::Null,
            json!({}),
            json!({ "Authorization": "" }),
            json!({ "Authorization": "nonsense" }),
            json!({ "Authorization": token }),
            json!({ "Authorization": format!("Basic {token}") }),
            json!({ "Authorization": format!("Bearer {token}x") }),
            json!({ "Authorization": format!("Bearer {expired}") }),
            json!({ "Authorization": format!("Bearer {unknown}") }),
            json!({ "Authorization": 7 }),
            json!({ "headers": format!("Bearer {token}") }),
        ] {
            let offence = json!({ "type": "connection_init", "payload": payload });
            // Other messages would be offences too, because the token is not accepted yet.
            for messages in [vec![offence.clone()], vec![offence, ping(1), pong(2), complete("1")]] {
                let mut socket = Socket::open(attack.server.address).await;
                socket.send_bytes(&texts(&messages)).await;
                let end = socket.rest(DEADLINE).await;
                assert_eq!((end.code, end.reason.starts_with("Forbidden")), (4403, true), "{payload}: {end:?}");
            }
        }
        let mut without = Socket::open(attack.server.address).await;
        without.send(&json!({ "type": "connection_init" })).await;
        assert_eq!(without.closed().await.0, 4403);
    });
}

#[test]
fn a_socket_needs_the_subprotocol() {
    test(async {
        let attack = Attack::new().await;
        let address = attack.server.address;
        let upgrade = async |headers: &str| {
            let connection = TcpStream::connect(address).await.expect("a connection");
            Socket::upgrade(connection, headers).await
        };
        for offered in [
            "",
            "sec-websocket-protocol: graphql-ws\r\n",
            "sec-websocket-protocol: graphql-transport-ws-2, x-graphql-transport-ws\r\n",
        ] {
            let ((alone, none), (followed, _)) = (upgrade(offered).await, upgrade(offered).await);
            assert_eq!(none, None, "{offered}");
            let first = text(&init(&attack.ana.token));
            assert_eq!(attack.closed_by([alone, followed], &first).await.0, 4406, "{offered}");
        }
        attack.end();
        for offered in [
            "sec-websocket-protocol: graphql-ws, graphql-transport-ws\r\n",
            "sec-websocket-protocol: graphql-transport-ws,graphql-ws\r\n",
            "sec-websocket-protocol: graphql-ws\r\nsec-websocket-protocol: graphql-transport-ws\r\n",
        ] {
            let (mut socket, selected) = upgrade(offered).await;
            assert_eq!(selected.as_deref(), Some("graphql-transport-ws"), "{offered}");
            socket.init(&attack.ana.token).await;
        }
    });
}

#[test]
fn only_pages_of_the_servers_own_and_of_configured_origins_open_sockets() {
    test(async {
        let world = World::new().await;
        let origins = vec!["https://app.example.com".parse().expect("an origin")];
        let server = world.server_where(|parts| parts.requests.cors_origins = origins).await;
        let ana = user("ana").await;
        for origin in ["https://evil.example", "https://app.example.com.evil.example", "http://here:81", "null"] {
            let request = upgrade_request(&format!("{}origin: {origin}\r\n", offer()));
            let mut connection = Raw::sent(server.address, &request).await;
            let (status, body) = connection.response().await.expect("a response");
            let (_, reason) = code_and_reason(&serde_json::from_str(&body).expect("JSON"));
            assert_eq!((status, reason.as_deref()), (403, Some("origin_not_allowed")), "{origin}");
        }
        for origin in ["https://app.example.com", "http://here", "https://here"] {
            let connection = TcpStream::connect(server.address).await.expect("a connection");
            let (mut socket, _) = Socket::upgrade(connection, &format!("{}origin: {origin}\r\n", offer())).await;
            socket.init(&ana.token).await;
        }
    });
}

#[test]
fn a_client_that_does_not_sign_in_is_closed() {
    test(async {
        let server = World::new().await.server().await;
        let [mut silent, mut pinging] = [Socket::open(server.address).await, Socket::open(server.address).await];
        // Pings are allowed before the acknowledgement, and do not replace it.
        pinging.nothing_more().await;
        for socket in [&mut silent, &mut pinging] {
            assert_eq!(socket.closed().await, closed(4408, "Connection initialisation timeout"));
        }
    });
}

#[test]
fn messages_that_the_protocol_does_not_have_close_the_socket() {
    test(async {
        let attack = Attack::new().await;
        let payloads = [
            json!(7),
            json!([]),
            json!("{ __typename }"),
            json!({}),
            json!({ "query": 7 }),
            json!({ "query": null }),
            json!({ "query": [TYPENAME] }),
            json!({ "query": TYPENAME, "variables": 7 }),
            json!({ "query": TYPENAME, "variables": [] }),
            json!({ "query": TYPENAME, "operationName": 7 }),
            json!({ "query": TYPENAME, "extensions": [] }),
        ];
        let mut messages: Vec<Value> = vec![
            json!(null),
            json!(7),
            json!("ping"),
            json!([{ "type": "ping" }]),
            json!({}),
            json!({ "id": "1" }),
            json!({ "type": null }),
            json!({ "type": 7 }),
            json!({ "type": "" }),
            json!({ "type": "start", "id": "1", "payload": { "query": TYPENAME } }),
            json!({ "type": "PING" }),
            json!({ "type": "ping", "payload": 7 }),
            json!({ "type": "ping", "payload": [] }),
            json!({ "type": "pong", "payload": "x" }),
            json!({ "type": "complete" }),
            json!({ "type": "complete", "id": "" }),
            json!({ "type": "complete", "id": 7 }),
            json!({ "type": "subscribe", "payload": { "query": TYPENAME } }),
            json!({ "type": "subscribe", "id": null, "payload": { "query": TYPENAME } }),
            json!({ "type": "subscribe", "id": "", "payload": { "query": TYPENAME } }),
            json!({ "type": "subscribe", "id": 7, "payload": { "query": TYPENAME } }),
            json!({ "type": "subscribe", "id": "1" }),
            // Only a server sends these.
            json!({ "type": "connection_ack" }),
            json!({ "type": "next", "id": "1", "payload": { "data": null } }),
            json!({ "type": "error", "id": "1", "payload": [{ "message": "wrong" }] }),
        ];
        messages.extend(payloads.map(|payload| json!({ "type": "subscribe", "id": "1", "payload": payload })));
        let mut offences: Vec<(u8, String)> = messages.iter().map(|message| (TEXT, message.to_string())).collect();
        let not_json = ["", " ", "nonsense", "{", "{\"type\":\"ping\"} {}", "{\"type\":\"ping\",}"];
        offences.extend(not_json.map(|text| (TEXT, text.to_owned())));
        offences.extend([ping(1).to_string(), String::new()].map(|bytes| (BINARY, bytes)));
        for (opcode, message) in offences {
            let offence = frame(FIN | opcode, message.as_bytes());
            for (code, reason) in [attack.closes_at_once(&offence).await, attack.closes(&offence).await] {
                assert_eq!((code, reason.is_empty()), (4400, false), "opcode {opcode}: {message}");
            }
        }
        for payload in [json!([]), json!("x"), json!(7), json!(true)] {
            let offence = text(&json!({ "type": "connection_init", "payload": payload }));
            assert_eq!(attack.closes_at_once(&offence).await.0, 4400, "{payload}");
        }
        attack.end();
    });
}

#[test]
fn an_operation_before_the_acknowledgement_is_unauthorized() {
    test(async {
        let attack = Attack::new().await;
        for query in [TYPENAME, FEED, "nonsense"] {
            let offence = text(&subscribe("1", query, json!({})));
            assert_eq!(attack.closes_at_once(&offence).await, closed(4401, "Unauthorized"));
        }
        // The token is in the cache, so the server verifies it without a wait.
        attack.acknowledged().await;
        let offence = texts(&[init(&attack.ana.token), subscribe("1", TYPENAME, json!({}))]);
        assert_eq!(attack.closes_at_once(&offence).await, closed(4401, "Unauthorized"));
        attack.end();
    });
}

#[test]
fn a_second_connection_init_closes_the_socket() {
    test(async {
        let attack = Attack::new().await;
        for second in [init(&attack.ana.token), init("nonsense"), json!({ "type": "connection_init" })] {
            assert_eq!(attack.closes(&text(&second)).await, closed(4429, "Too many initialisation requests"));
        }
        attack.end();
    });
}

#[test]
fn offences_while_the_token_is_checked_close_the_socket() {
    test(async {
        let world = World::new().await;
        let (_postgres, relay, users) = relayed().await;
        let [ana, ben, chloe] =
            [user_in(&users, "ana").await, user_in(&users, "ben").await, user_in(&users, "chloe").await];
        let server = world.server_with(users.clone(), shared().await.token_issuer.clone()).await;
        for (user, offence, expected) in [
            (&ana, init(&ana.token), closed(4429, "Too many initialisation requests")),
            (&ben, subscribe("1", TYPENAME, json!({})), closed(4401, "Unauthorized")),
        ] {
            let mut socket = Socket::open(server.address).await;
            // The server cannot read the user, so the first message stays without a response.
            relay.hold(true);
            socket.send_bytes(&texts(&[init(&user.token), offence, ping(1)])).await;
            assert_eq!(socket.closed().await, expected);
            relay.hold(false);
            eventually("that users are found again", || async { users.by_handle(user.handle()).await.ok() }).await;
        }
        let mut socket = Socket::open(server.address).await;
        relay.hold(true);
        socket.send(&init(&chloe.token)).await;
        // The server responds to other messages in the meantime.
        socket.nothing_more().await;
        relay.hold(false);
        assert_eq!(socket.receive().await["type"], "connection_ack");
    });
}

#[test]
fn an_id_that_is_in_use_closes_the_socket() {
    test(async {
        let attack = Attack::new().await;
        for query in [TYPENAME, FEED] {
            let subscribed = async || {
                let mut socket = attack.acknowledged().await;
                socket.subscribe("not-unique", FEED, json!({})).await;
                ready(&socket.event("not-unique").await);
                socket
            };
            let offence = text(&subscribe("not-unique", query, json!({})));
            let end = attack.closed_by([subscribed().await, subscribed().await], &offence).await;
            assert_eq!(end, closed(4409, "Subscriber for not-unique already exists"));
        }
        attack.end();
        // Also while the first operation starts, and while a query is executed.
        attack.world.proxy.hold("Query");
        for first in ["{ messageGroups { nodes { uuid } } }", FEED] {
            let mut socket = attack.acknowledged().await;
            let both = [subscribe("1", first, json!({})), subscribe("1", TYPENAME, json!({})), ping(1)];
            socket.send_bytes(&texts(&both)).await;
            let end = socket.rest(DEADLINE).await;
            assert_eq!((end.code, end.reason.as_str()), (4409, "Subscriber for 1 already exists"));
        }
        attack.world.proxy.release("Query");
        // The reason of a close frame has at most 123 bytes.
        let mut socket = attack.acknowledged().await;
        let id = "é".repeat(500);
        socket.send_bytes(&texts(&[subscribe(&id, FEED, json!({})), subscribe(&id, FEED, json!({}))])).await;
        let end = socket.rest(DEADLINE).await;
        assert_eq!(end.code, 4409);
    });
}

#[test]
fn pings_are_answered_with_their_payload_and_pongs_are_ignored() {
    test(async {
        let server = World::new().await.server().await;
        let mut socket = Socket::open(server.address).await;
        let ana = user("ana").await;
        for is_signed_in in [false, true] {
            if is_signed_in {
                socket.init(&ana.token).await;
            }
            socket.send(&json!({ "type": "ping" })).await;
            assert_eq!(socket.receive().await, json!({ "type": "pong" }));
            socket.send(&json!({ "type": "ping", "payload": null })).await;
            assert_eq!(socket.receive().await["payload"], Value::Null);
            for payload in [json!({}), json!({ "iCome": ["back", { "é": 1.5 }] })] {
                socket.send(&json!({ "type": "ping", "payload": payload })).await;
                assert_eq!(socket.receive().await, json!({ "type": "pong", "payload": payload }));
            }
            socket.send_bytes(&texts(&[json!({ "type": "pong" }), pong(7), ping(7), pong(8), ping(8)])).await;
            assert_eq!([socket.receive().await, socket.receive().await], [pong(7), pong(8)]);
        }
    });
}

#[test]
fn both_sides_close_in_good_order() {
    test(async {
        let attack = Attack::new().await;
        let mut socket = attack.acknowledged().await;
        socket.subscribe("1", FEED, json!({})).await;
        ready(&socket.event("1").await);
        socket.close().await;
        let end = socket.rest(DEADLINE).await;
        assert_eq!((end.code, end.messages, end.is_clean), (1000, vec![], true));

        let mut socket = attack.acknowledged().await;
        // If the server closed the connection without reading this, the client would not get the close frame.
        let much = text(&json!({ "type": "ping", "payload": { "long": "x".repeat(10_000) } })).repeat(300);
        socket.send_bytes(&[frame(FIN | TEXT, b"nonsense"), much].concat()).await;
        let end = socket.rest(DEADLINE).await;
        assert_eq!((end.code, end.messages, end.is_clean), (4400, vec![], true));
    });
}
