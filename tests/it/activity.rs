//! Typing and read markers: not stored, and delivered at most once to the users whom they concern.

use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{MARK_READ, MESSAGES};
use crate::harness::event_stream::EventStream;
use crate::harness::live::ACTIVITY;
use crate::harness::websocket::Socket;
use crate::harness::{Client, Server, TestUser, World, eventually, test, user};

const SIGNAL: &str = "mutation Signal($group: UUID!) {
    signalTyping(input: { messageGroupUuid: $group }) { messageGroupUuid }
}";

/// The beginning of the handles of users who only show that a subscription has begun.
const PROBE: &str = "probe";
/// Pause between signals that are repeated.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(100);

/// The server delivers at most one signal of a user for a group in this time.
const INTERVAL: Duration = Duration::from_secs(3);

/// Says that a user types.
async fn signal(client: &Client, group: &Value) {
    let data = client.data(SIGNAL, json!({ "group": group })).await;
    assert_eq!(data, json!({ "signalTyping": { "messageGroupUuid": group } }));
}

/// Says again and again that a user types.
async fn signal_again(client: &Client, group: &Value) {
    loop {
        signal(client, group).await;
        tokio::time::sleep(BETWEEN_SIGNALS).await;
    }
}

/// A device of a user that receives activities.
struct Device<'a> {
    server: &'a Server,
    user: &'a TestUser,
    socket: Socket,
}

impl<'a> Device<'a> {
    async fn open(server: &'a Server, user: &'a TestUser) -> Self {
        let mut socket = Socket::acknowledged(server.address, &user.token).await;
        socket.subscribe("activity", ACTIVITY, json!({})).await;
        let mut device = Self { server, user, socket };
        device.probe().await;
        device
    }

    /// Waits until the device receives an activity that is caused now. So it also receives those after it, and it has received
    /// those before it. Returns the ones before it.
    async fn probe(&mut self) -> Vec<Value> {
        let probe = user(PROBE).await;
        let client = self.server.client(&probe);
        let group = client.send_to(self.user, "hello").await["messageGroup"]["uuid"].clone();
        let mut before = Vec::new();
        let receive = async {
            loop {
                let activity = activity(self.socket.next("activity").await);
                if activity["user"]["handle"] == probe.handle() {
                    return;
                }
                if !activity["user"]["handle"].as_str().is_some_and(|handle| handle.starts_with(PROBE)) {
                    before.push(activity);
                }
            }
        };
        tokio::select! {
            () = receive => {}
            () = signal_again(&client, &group) => {}
        }
        before
    }

    /// The next activity that is not caused by [`Device::probe`].
    async fn next(&mut self) -> Value {
        loop {
            let activity = activity(self.socket.next("activity").await);
            if !activity["user"]["handle"].as_str().is_some_and(|handle| handle.starts_with(PROBE)) {
                return activity;
            }
        }
    }

    /// Checks that the device has received nothing so far.
    async fn has_nothing(&mut self) {
        assert_eq!(self.probe().await, Vec::<Value>::new(), "{}", self.user.handle());
    }
}

fn activity(payload: Value) -> Value {
    assert_eq!(payload.get("errors"), None, "{payload}");
    payload["data"]["activity"].clone()
}

fn time(value: &Value) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(value.as_str().expect("a time")).expect("RFC 3339")
}

/// Two users with a group, and a third user.
struct Talk {
    world: World,
    server: Server,
    ana: TestUser,
    ben: TestUser,
    chloe: TestUser,
    group: Value,
}

impl Talk {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().await;
        let [ana, ben, chloe] = [user("ana").await, user("ben").await, user("chloe").await];
        let group = server.client(&ana).send_to(&ben, "one").await["messageGroup"]["uuid"].clone();
        Self { world, server, ana, ben, chloe, group }
    }

    async fn device<'a>(&'a self, user: &'a TestUser) -> Device<'a> {
        Device::open(&self.server, user).await
    }
}

#[test]
fn typing_reaches_the_devices_of_the_other_participant() {
    test(async {
        let talk = Talk::new().await;
        let mut phone = talk.device(&talk.ana).await;
        let mut desk = talk.device(&talk.ana).await;
        let mut of_ben = talk.device(&talk.ben).await;
        let mut of_chloe = talk.device(&talk.chloe).await;
        // Responses have microseconds.
        let before = Utc::now() - TimeDelta::microseconds(1);
        signal(&talk.server.client(&talk.ben), &talk.group).await;
        let first = phone.next().await;
        let after = Utc::now();
        let expected = json!({
            "__typename": "TypingStarted",
            "messageGroupUuid": talk.group,
            "user": { "handle": talk.ben.handle() },
            "expiresAt": first["expiresAt"],
        });
        assert_eq!(first, expected);
        let expires_at = time(&first["expiresAt"]);
        let six = TimeDelta::seconds(6);
        assert!(before + six <= expires_at && expires_at <= after + six, "{before} {expires_at} {after}");
        assert_eq!(desk.next().await, first);
        for device in [&mut phone, &mut desk, &mut of_ben, &mut of_chloe] {
            device.has_nothing().await;
        }
        // The other direction is independent.
        signal(&talk.server.client(&talk.ana), &talk.group).await;
        assert_eq!(of_ben.next().await["user"]["handle"], talk.ana.handle());
        for device in [&mut phone, &mut of_ben, &mut of_chloe] {
            device.has_nothing().await;
        }
    });
}

#[test]
fn typing_is_delivered_at_most_once_in_three_seconds_for_each_group() {
    test(async {
        let talk = Talk::new().await;
        let of_ben = talk.server.client(&talk.ben);
        let other = of_ben.send_to(&talk.chloe, "hello").await["messageGroup"]["uuid"].clone();
        let mut device = talk.device(&talk.ana).await;
        let mut of_chloe = talk.device(&talk.chloe).await;
        let begin = Instant::now();
        for _ in 0..20 {
            signal(&of_ben, &talk.group).await;
        }
        // Another group has an interval of its own.
        signal(&of_ben, &other).await;
        assert_eq!(of_chloe.next().await["messageGroupUuid"], other);
        let maximum = begin.elapsed().as_secs() / INTERVAL.as_secs() + 1;
        let received = device.probe().await;
        assert!(received.iter().all(|activity| activity["messageGroupUuid"] == talk.group), "{received:?}");
        assert!(!received.is_empty() && received.len() as u64 <= maximum, "{} of at most {maximum}", received.len());
        // After the interval, a signal is delivered again.
        tokio::select! {
            again = device.next() => assert!(time(&again["expiresAt"]) > time(&received[0]["expiresAt"])),
            () = signal_again(&of_ben, &talk.group) => {}
        }
    });
}

#[test]
fn only_a_participant_can_signal() {
    test(async {
        let talk = Talk::new().await;
        let mut device = talk.device(&talk.ana).await;
        let of_chloe = talk.server.client(&talk.chloe);
        let foreign = of_chloe.execute(SIGNAL, json!({ "group": talk.group })).await;
        let unknown = of_chloe.execute(SIGNAL, json!({ "group": Uuid::new_v4() })).await;
        assert_eq!(foreign, unknown);
        assert_eq!(foreign["errors"][0]["extensions"], json!({ "code": "NOT_FOUND" }));
        let anonymous = talk.server.anonymous().error(SIGNAL, json!({ "group": talk.group })).await;
        assert_eq!(anonymous, ("UNAUTHENTICATED".to_owned(), Some("token_missing".to_owned())));
        device.has_nothing().await;
    });
}

/// The cursors of the messages of a group, from oldest to newest.
async fn cursors(client: &Client, group: &Value) -> Vec<Value> {
    let data = client.data(MESSAGES, json!({ "group": group, "last": 100 })).await;
    data["messages"]["edges"].as_array().expect("edges").iter().map(|edge| edge["cursor"].clone()).collect()
}

#[test]
fn a_read_marker_reaches_both_users_and_the_count_only_its_owner() {
    test(async {
        let talk = Talk::new().await;
        let _consumer = talk.world.consumer();
        let (of_ana, of_ben) = (talk.server.client(&talk.ana), talk.server.client(&talk.ben));
        for body in ["two", "three"] {
            of_ana.send(json!({ "messageGroupUuid": talk.group }), body).await;
        }
        let list = "{ messageGroups { nodes { unreadCount } } }";
        eventually("three unread messages", || async {
            let data = of_ben.data(list, json!({})).await;
            (data["messageGroups"]["nodes"] == json!([{ "unreadCount": 3 }])).then_some(())
        })
        .await;
        let cursors = cursors(&of_ben, &talk.group).await;
        let mut phone = talk.device(&talk.ben).await;
        let mut desk = talk.device(&talk.ben).await;
        let mut of_other = talk.device(&talk.ana).await;
        let mut of_chloe = talk.device(&talk.chloe).await;
        for (cursor, unread) in [(&cursors[1], 1), (&cursors[2], 0)] {
            of_ben.mark_read(&talk.group, cursor).await;
            let moved = |unread: Value| {
                json!({
                    "__typename": "ReadMarkerMoved",
                    "messageGroupUuid": talk.group,
                    "user": { "handle": talk.ben.handle() },
                    "readCursor": cursor,
                    "unreadCount": unread,
                })
            };
            for device in [&mut phone, &mut desk] {
                assert_eq!(device.next().await, moved(json!(unread)));
            }
            assert_eq!(of_other.next().await, moved(Value::Null));
        }
        // A marker that cannot be set moves nothing.
        let of_chloe_client = talk.server.client(&talk.chloe);
        let foreign = of_chloe_client.error(MARK_READ, json!({ "group": talk.group, "upTo": cursors[0] })).await;
        assert_eq!(foreign.0, "NOT_FOUND");
        for device in [&mut phone, &mut desk, &mut of_other, &mut of_chloe] {
            device.has_nothing().await;
        }
    });
}

#[test]
fn activities_come_over_event_streams_without_ids() {
    test(async {
        let talk = Talk::new().await;
        let mut stream = EventStream::start(&talk.server.client(&talk.ana), ACTIVITY, json!({})).await;
        let of_ben = talk.server.client(&talk.ben);
        let lines = tokio::select! {
            lines = stream.lines() => lines.expect("an event"),
            () = signal_again(&of_ben, &talk.group) => Vec::new(),
        };
        let [event, data] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(event, "event: next");
        let payload = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(activity(payload)["user"]["handle"], talk.ben.handle());
    });
}

#[test]
fn a_client_that_is_not_signed_in_receives_no_activities() {
    test(async {
        let talk = Talk::new().await;
        let mut stream = EventStream::start(&talk.server.anonymous(), ACTIVITY, json!({})).await;
        let result = stream.next().await;
        assert_eq!(result["errors"][0]["extensions"]["reason"], "token_missing", "{result}");
        stream.completed().await;
    });
}
