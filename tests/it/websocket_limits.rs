//! Limits of sockets and event streams, and clients that are silent or slow.

use std::time::Duration;

use cruddur_messaging::app::ApiParts;
use cruddur_messaging::messages_table::feed::FeedContent;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::feed::Log;
use crate::harness::client::{CREATE, GROUPS, code_and_reason};
use crate::harness::event_stream::{EventStream, Multipart};
use crate::harness::live::{FEED, ready};
use crate::harness::websocket::{FIN, PING, Socket, complete, frame, init, offer, ping, pong, subscribe, text, texts};
use crate::harness::{Client, DEADLINE, Server, TestUser, World, eventually, test, user};

fn too_many_connections() -> Result<Value, (u16, String)> {
    Err((1013, "Too many connections".to_owned()))
}

/// Opens a socket and signs in. The second value says whether the server has accepted it.
async fn opened(server: &Server, user: &TestUser) -> (Socket, Result<Value, (u16, String)>) {
    let mut socket = Socket::open(server.address).await;
    let response = socket.try_init(&user.token).await;
    (socket, response.map(|message| message["type"].clone()))
}

fn accepted() -> Result<Value, (u16, String)> {
    Ok(json!("connection_ack"))
}

#[test]
fn the_operations_of_a_socket_are_limited() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.requests.live.operations_per_socket = 2).await;
        let ana = user("ana").await;
        let mut socket = Socket::acknowledged(server.address, &ana.token).await;
        for id in ["1", "2"] {
            socket.subscribe(id, FEED, json!({})).await;
            ready(&socket.event(id).await);
        }
        let exceeded = ("THROTTLED".to_owned(), Some("max_operations_exceeded".to_owned()));
        for query in [FEED, "{ __typename }"] {
            socket.subscribe("3", query, json!({})).await;
            assert_eq!(socket.error("3").await, exceeded, "{query}");
        }
        // The other operations go on, and the limit is for each socket.
        let mut other = Socket::acknowledged(server.address, &ana.token).await;
        other.subscribe("3", FEED, json!({})).await;
        ready(&other.event("3").await);
        let _consumer = world.consumer();
        server.client(&user("ben").await).send_to(&ana, "hello").await;
        let both = [socket.receive().await, socket.receive().await];
        let mut ids = both.map(|message| {
            assert_eq!(message["payload"]["data"]["feed"]["message"]["body"], "hello");
            message["id"].clone()
        });
        ids.sort_by_key(Value::to_string);
        assert_eq!(ids, ["1", "2"]);
        // An operation that has ended makes room.
        socket.send_bytes(&texts(&[complete("1"), subscribe("3", "{ __typename }", json!({}))])).await;
        assert_eq!(socket.next("3").await["data"]["__typename"], "Query");
        socket.completed("3").await;
        socket.subscribe("1", FEED, json!({})).await;
        ready(&socket.event("1").await);
    });
}

#[test]
fn a_flood_of_messages_closes_the_socket() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.requests.live.socket_messages_per_minute = 20).await;
        let ana = user("ana").await;
        let mut socket = Socket::acknowledged(server.address, &ana.token).await;
        let pings: Vec<Value> = (0..19).map(ping).collect();
        socket.send_bytes(&texts(&pings)).await;
        for number in 0..19 {
            assert_eq!(socket.receive().await, pong(number));
        }
        // If a new minute has begun, 20 of them are allowed.
        let pings: Vec<Value> = (0..41).map(ping).collect();
        socket.send_bytes(&texts(&pings)).await;
        let end = socket.rest(DEADLINE).await;
        assert_eq!((end.code, end.reason.as_str()), (1013, "Too many messages"));
        assert_eq!(end.messages, (0..end.messages.len()).map(pong).collect::<Vec<_>>());
        assert!(end.messages.len() <= 20, "{} responses", end.messages.len());
        // Before the acknowledgement too, and the pings of WebSocket count like messages.
        for message in [text(&json!({ "type": "pong" })), frame(FIN | PING, b"x")] {
            let mut socket = Socket::open(server.address).await;
            socket.send_bytes(&message.repeat(41)).await;
            assert_eq!(socket.closed().await, (1013, "Too many messages".to_owned()));
        }
    });
}

/// Status, code and reason of the response to a subscription.
async fn refused(client: &Client, accept: &str) -> (u16, String, Option<String>) {
    let request = client.post().header("accept", accept).json(&json!({ "query": FEED }));
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let (code, reason) = code_and_reason(&response.json().await.expect("JSON"));
    (status, code, reason)
}

#[test]
fn the_sockets_and_streams_of_a_user_are_limited_together() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.requests.live.sockets_per_user = 3).await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let of_ana = server.client(&ana);
        let (socket, first) = opened(&server, &ana).await;
        assert_eq!(first, accepted());
        let mut stream = EventStream::start(&of_ana, FEED, json!({})).await;
        ready(&stream.event().await);
        let mut multipart = Multipart::start(&of_ana, FEED, json!({})).await;
        ready(&multipart.event().await);

        assert_eq!(opened(&server, &ana).await.1, too_many_connections());
        let mut followed = Socket::open(server.address).await;
        followed.send_bytes(&texts(&[init(&ana.token), ping(1)])).await;
        assert_eq!(followed.rest(DEADLINE).await.code, 1013);
        let expected = (429, "THROTTLED".to_owned(), Some("max_sockets_exceeded".to_owned()));
        for accept in ["text/event-stream", "multipart/mixed"] {
            assert_eq!(refused(&of_ana, accept).await, expected, "{accept}");
        }
        // Other requests of the user and the sockets of others are not limited.
        assert_eq!(of_ana.data("{ me { handle } }", json!({})).await["me"]["handle"], ana.handle());
        let (_socket_of_ben, of_ben) = opened(&server, &ben).await;
        assert_eq!(of_ben, accepted());
        // A socket that is not signed in belongs to nobody.
        let _open = [Socket::open(server.address).await, Socket::open(server.address).await];

        // A connection that ends makes room: each kind once.
        drop(stream);
        let mut stream = eventually("room for a stream", || async {
            let request = of_ana.post().header("accept", "text/event-stream").json(&json!({ "query": FEED }));
            let response = request.send().await.expect("a response");
            (response.status().as_u16() == 200).then_some(response)
        })
        .await;
        assert!(stream.chunk().await.expect("data").is_some());
        drop(multipart);
        let room = || async { Some(opened(&server, &ana).await).filter(|(_, response)| *response == accepted()) };
        let _replaces_the_multipart = eventually("room after a multipart stream", room).await;
        drop(socket);
        let mut last = eventually("room after a socket", room).await.0;
        assert_eq!(opened(&server, &ana).await.1, too_many_connections());
        last.close().await;
        let _room = eventually("room after a closed socket", room).await;
    });
}

#[test]
fn a_silent_client_is_closed_and_one_that_answers_pings_is_not() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let mut silent = Socket::acknowledged(server.address, &ana.token).await;
        let mut answering = Socket::acknowledged(server.address, &ana.token).await;
        tokio::select! {
            (pings, code) = silent.closed_in_silence(DEADLINE * 4) => {
                assert_eq!(code, 4499);
                assert!(pings > 0);
            }
            message = answering.receive_within(DEADLINE * 5) => panic!("{message}"),
        }
        answering.nothing_more().await;
    });
}

/// Bytes of a message that is large, so that few of them fill the buffers of a connection.
const LARGE: usize = 200_000;
/// Pause between attempts to open a socket.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// A feed with 10,000 KB in events, and the cursor before them.
async fn large_feed() -> (Log, Value) {
    let log = Log::new().await;
    for batch in 0..5 {
        let large = |entry: u64| {
            let number = batch * 10 + entry;
            let FeedContent::Messages(messages) = log.messages(number..number + 1) else { panic!("no messages") };
            let mut messages = (*messages).clone();
            messages.messages.iter_mut().for_each(|message| message.body = "x".repeat(LARGE));
            FeedContent::Messages(messages.into())
        };
        log.append(batch * 10, batch * 10, (0..10).map(large).collect()).await;
    }
    let start = log.client().feed(&Value::Null, 1).await.events[0]["cursor"].clone();
    (log, start)
}

/// A socket of ana with small buffers.
async fn slow_socket(server: &Server, log: &Log) -> Socket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let connection = socket.connect(server.address).await.expect("a connection");
    let (mut slow, _) = Socket::upgrade(connection, &offer()).await;
    slow.init(&log.ana.token).await;
    slow
}

#[test]
fn a_client_that_accepts_no_data_is_closed_and_delays_nobody() {
    test(async {
        let (log, start) = large_feed().await;
        let limits: [fn(&mut ApiParts); 2] = [
            |parts| parts.requests.connections.write_timeout_ms = 1_500,
            // One event and the overhead of a response are larger.
            |parts| parts.requests.connections.unread_bytes = LARGE + 2_000,
        ];
        for limit in limits {
            let change = |parts: &mut ApiParts| {
                parts.requests.live.sockets_per_user = 1;
                limit(parts);
            };
            let server = log.world.server_where(change).await;
            let mut slow = slow_socket(&server, &log).await;
            slow.subscribe("1", FEED, json!({ "after": start })).await;
            assert_eq!(slow.event("1").await["__typename"], "MessageAdded");
            assert_eq!(opened(&server, &log.ana).await.1, too_many_connections());

            let (mut other, _) = opened(&server, &user("ben").await).await;
            other.subscribe("1", FEED, json!({})).await;
            ready(&other.event("1").await);
            let room = || async {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
                Some(opened(&server, &log.ana).await).filter(|(_, response)| *response == accepted())
            };
            // The close frame cannot arrive, but the socket counts no longer.
            let _room = eventually("that the slow client is closed", room).await;
            other.nothing_more().await;
            drop(slow);
        }
    });
}

#[test]
fn a_client_that_accepts_no_data_holds_no_permits() {
    test(async {
        let (log, start) = large_feed().await;
        let change = |parts: &mut ApiParts| {
            parts.requests.http.concurrent_requests = 2;
            // The test is over before that.
            parts.requests.connections.write_timeout_ms = 300_000;
        };
        let server = log.world.server_where(change).await;
        let (proxy, ben) = (&log.world.proxy, user("ben").await);
        let mut slow = slow_socket(&server, &log).await;
        proxy.hold("TransactWriteItems");
        let before = proxy.calls("TransactWriteItems");
        slow.subscribe("sent", CREATE, json!({ "to": { "handle": ben.handle() }, "body": "x" })).await;
        let arrived = || async { (proxy.calls("TransactWriteItems") > before).then_some(()) };
        eventually("that the message is being stored", arrived).await;
        slow.subscribe("1", FEED, json!({ "after": start })).await;
        assert_eq!(slow.event("1").await["__typename"], "MessageAdded");
        // The server reads the feed until the buffers of the connection are full.
        eventually("that the socket accepts no more", || async {
            let before = proxy.calls("Query");
            tokio::time::sleep(BETWEEN_ATTEMPTS * 2).await;
            (proxy.calls("Query") == before).then_some(())
        })
        .await;
        proxy.release("TransactWriteItems");

        // Another request has one permit. There must be a second one, although the socket cannot deliver the result.
        proxy.hold("Query");
        let before = proxy.calls("Query");
        let client = server.client(&ben);
        let list = tokio::spawn(client.post().json(&json!({ "query": GROUPS })).send());
        eventually("a list", || async { (proxy.calls("Query") > before).then_some(()) }).await;
        eventually("a second permit", || async {
            let response = client.post().json(&json!({ "query": "{ __typename }" })).send().await.expect("a response");
            response.status().is_success().then_some(())
        })
        .await;
        proxy.release("Query");
        // The list was not the request that returned its permit.
        let list: Value = list.await.expect("a task").expect("a response").json().await.expect("JSON");
        assert!(list["errors"].is_null(), "{list}");
        drop(slow);
    });
}
