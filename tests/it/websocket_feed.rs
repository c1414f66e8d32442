//! The feed over WebSocket: what was missed, then what is new, until the token, the user or the server ends.

use cruddur_messaging::messages_table::feed::FeedContent;
use cruddur_messaging::model::MessageGroupUuid;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::feed::{Log, forged};
use crate::harness::live::{FEED, delete_user, ready, token_expiring_in};
use crate::harness::websocket::Socket;
use crate::harness::{DEADLINE, Server, TestUser, World, test, user};

/// A socket of a user with a subscription `1` after a cursor.
async fn subscribed(server: &Server, user: &TestUser, after: &Value) -> Socket {
    let mut socket = Socket::acknowledged(server.address, &user.token).await;
    socket.subscribe("1", FEED, json!({ "after": after })).await;
    socket
}

/// Reads what was missed. Returns the bodies of the messages, the reasons of resets, and the cursor after them.
async fn missed(socket: &mut Socket) -> (Vec<String>, Value) {
    let mut texts = Vec::new();
    loop {
        let event = socket.event("1").await;
        let text = match event["__typename"].as_str() {
            Some("MessageAdded") => &event["message"]["body"],
            Some("FeedReset") => &event["reason"],
            _ => return (texts, ready(&event)),
        };
        texts.push(text.as_str().expect("a text").to_owned());
    }
}

#[test]
fn a_subscription_is_ready_and_then_delivers_what_happens() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let _consumer = world.consumer();
        let [ana, ben, chloe] = [user("ana").await, user("ben").await, user("chloe").await];
        let of_ben = server.client(&ben);
        of_ben.send_to(&ana, "before").await;
        server.client(&ana).next_events(&Value::Null, 1).await;
        let mut of_ana = subscribed(&server, &ana, &Value::Null).await;
        let mut of_chloe = subscribed(&server, &chloe, &Value::Null).await;
        assert!(missed(&mut of_chloe).await.0.is_empty());
        // Without a cursor, a subscription begins at the end of the feed.
        let (texts, cursor) = missed(&mut of_ana).await;
        assert_eq!(texts, Vec::<String>::new());
        let sent = of_ben.send_to(&ana, "after").await;
        let event = of_ana.event("1").await;
        let expected = json!({
            "__typename": "MessageAdded",
            "cursor": event["cursor"],
            "message": {
                "uuid": sent["message"]["uuid"],
                "messageGroupUuid": sent["messageGroup"]["uuid"],
                "body": "after",
                "author": { "handle": ben.handle() },
            },
            "messageGroup": { "uuid": sent["messageGroup"]["uuid"], "unreadCount": 2 },
        });
        assert_eq!(event, expected);
        // Own messages come too.
        server.client(&ana).send_to(&chloe, "from ana").await;
        assert_eq!(of_ana.event("1").await["message"]["body"], "from ana");
        // The pulled feed is the same.
        let pulled = server.client(&ana).next_events(&cursor, 2).await;
        assert_eq!(pulled.texts(), ["after", "from ana"]);
        assert_eq!(pulled.events[0]["cursor"], event["cursor"]);
        // A third user receives nothing of it.
        assert_eq!(of_chloe.event("1").await["message"]["body"], "from ana");
        for socket in [&mut of_ana, &mut of_chloe] {
            socket.nothing_more().await;
        }
    });
}

#[test]
fn a_subscription_continues_exactly_after_its_cursor_on_every_server() {
    test(async {
        let world = World::new().await;
        let (one, other) = (world.server().await, world.server().await);
        let _consumer = world.consumer();
        let (ana, ben) = (user("ana").await, user("ben").await);
        let of_ben = one.client(&ben);
        let mut socket = subscribed(&one, &ana, &Value::Null).await;
        let (_, start) = missed(&mut socket).await;
        let mut cursors = vec![start];
        for number in 0..5 {
            of_ben.send_to(&ana, &number.to_string()).await;
            let event = socket.event("1").await;
            assert_eq!(event["message"]["body"], number.to_string());
            cursors.push(event["cursor"].clone());
        }
        drop(socket);
        for number in 5..8 {
            of_ben.send_to(&ana, &number.to_string()).await;
        }
        one.client(&ana).next_events(&cursors[5], 3).await;
        for (server, first) in [(&one, 0), (&other, 3), (&other, 5), (&one, 5)] {
            let mut socket = subscribed(server, &ana, &cursors[first]).await;
            let (texts, end) = missed(&mut socket).await;
            assert_eq!(texts, (first..8).map(|number| number.to_string()).collect::<Vec<_>>());
            // The cursor of `FeedReady` is after them.
            let mut again = subscribed(server, &ana, &end).await;
            assert_eq!(missed(&mut again).await.0, Vec::<String>::new());
        }
    });
}

#[test]
fn two_subscriptions_of_a_socket_have_their_own_positions() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..10).await;
        let cursors: Vec<Value> =
            log.client().feed(&Value::Null, 10).await.events.iter().map(|event| event["cursor"].clone()).collect();
        let mut socket = Socket::acknowledged(log.server.address, &log.ana.token).await;
        for (id, index) in [("2", 1), ("7", 6)] {
            socket.subscribe(id, FEED, json!({ "after": cursors[index] })).await;
        }
        let mut texts = [Vec::new(), Vec::new()];
        for _ in 0..8 + 3 + 2 {
            let message = socket.receive().await;
            let event = &message["payload"]["data"]["feed"];
            let text = event["message"]["body"].as_str().unwrap_or("ready").to_owned();
            texts[usize::from(message["id"] == "7")].push(text);
        }
        assert_eq!(texts[0], ["2", "3", "4", "5", "6", "7", "8", "9", "ready"]);
        assert_eq!(texts[1], ["7", "8", "9", "ready"]);
        socket.nothing_more().await;
    });
}

#[test]
fn missing_events_are_a_reset_where_they_are() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..3).await;
        let reset = FeedContent::Reset(MessageGroupUuid(Uuid::new_v4()));
        log.append(3, 3, vec![reset, log.messages(4..5)]).await;
        let events = log.client().feed(&Value::Null, 10).await.events;
        let mut socket = subscribed(&log.server, &log.ana, &events[0]["cursor"]).await;
        assert_eq!(missed(&mut socket).await.0, ["1", "2", "HISTORY_CHANGED", "4"]);
        log.delete(1).await;
        let mut socket = subscribed(&log.server, &log.ana, &events[0]["cursor"]).await;
        let (texts, end) = missed(&mut socket).await;
        assert_eq!(texts, ["EXPIRED"]);
        // The subscription goes on after the reset.
        let mut again = subscribed(&log.server, &log.ana, &end).await;
        assert_eq!(missed(&mut again).await.0, Vec::<String>::new());
    });
}

#[test]
fn a_cursor_of_another_user_gives_nothing_of_that_user() {
    test(async {
        let log = Log::new().await;
        log.append_singles(0..3).await;
        let chloe = user("chloe").await;
        let page = log.client().feed(&Value::Null, 2).await;
        let cursor = &page.events[0]["cursor"];
        let invalid = ("BAD_USER_INPUT".to_owned(), Some("cursor_invalid".to_owned()));
        for after in [cursor, &page.end, &json!("nonsense"), &json!(""), &json!("é"), &forged(cursor, 5, -1)] {
            let mut socket = subscribed(&log.server, &chloe, after).await;
            assert_eq!(socket.error("1").await, invalid, "{after}");
            socket.nothing_more().await;
        }
        // A forged cursor names chloe as its owner, and an entry that is not in her feed.
        let mut socket = subscribed(&log.server, &chloe, &forged(cursor, 1, chloe.uuid())).await;
        let (texts, _) = missed(&mut socket).await;
        assert!(texts.iter().all(|text| text == "EXPIRED" || text == "HISTORY_CHANGED"), "{texts:?}");
        assert!(!texts.is_empty());
        socket.nothing_more().await;
    });
}

#[test]
fn a_socket_is_closed_when_its_token_expires() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let token = token_expiring_in(&ana, 6).await;
        let mut sockets = Vec::new();
        // The second time, the server has the token in its cache.
        for _ in 0..2 {
            let mut socket = Socket::acknowledged(server.address, &token).await;
            socket.subscribe("1", FEED, json!({})).await;
            missed(&mut socket).await;
            sockets.push(socket);
        }
        // A socket without operations is closed too.
        sockets.push(Socket::acknowledged(server.address, &token).await);
        let mut later = Socket::acknowledged(server.address, &ana.token).await;
        for socket in &mut sockets {
            assert_eq!(socket.closed().await, (4403, "Token expired".to_owned()));
        }
        later.nothing_more().await;
    });
}

#[test]
fn a_socket_is_closed_when_its_user_is_deleted() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let mut of_ana = subscribed(&server, &ana, &Value::Null).await;
        let mut of_ben = subscribed(&server, &ben, &Value::Null).await;
        let without = Socket::acknowledged(server.address, &ana.token).await;
        for socket in [&mut of_ana, &mut of_ben] {
            missed(socket).await;
        }
        delete_user(&ana).await;
        for mut socket in [of_ana, without] {
            let end = socket.rest(DEADLINE * 4).await;
            assert_eq!((end.code, end.messages), (4403, vec![]));
        }
        of_ben.nothing_more().await;
    });
}

#[test]
fn sockets_are_closed_at_shutdown_and_continue_on_another_server() {
    test(async {
        let world = World::new().await;
        let (first, second) = (world.server().await, world.server().await);
        let _consumer = world.consumer();
        let (ana, ben) = (user("ana").await, user("ben").await);
        let mut sockets = Vec::new();
        for _ in 0..5 {
            let mut socket = subscribed(&first, &ana, &Value::Null).await;
            missed(&mut socket).await;
            sockets.push(socket);
        }
        let of_ben = second.client(&ben);
        of_ben.send_to(&ana, "before").await;
        let mut cursor = Value::Null;
        for socket in &mut sockets {
            cursor = socket.event("1").await["cursor"].clone();
        }
        sockets.push(Socket::acknowledged(first.address, &ana.token).await);
        let ends = futures::future::join_all(sockets.iter_mut().map(|socket| socket.rest(DEADLINE)));
        let (finished, ends) = tokio::join!(first.shutdown.finish(), ends);
        assert!(finished, "the sockets delay the end of the process");
        for end in ends {
            assert_eq!((end.code, end.messages, end.is_clean), (1012, vec![], true));
        }
        of_ben.send_to(&ana, "meanwhile").await;
        second.client(&ana).next_events(&cursor, 1).await;
        let mut socket = subscribed(&second, &ana, &cursor).await;
        assert_eq!(missed(&mut socket).await.0, ["meanwhile"]);
    });
}
