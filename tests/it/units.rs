//! Capacity units that requests and the consumer use. The proxy adds up what the engine reports.

use std::ops::Sub;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{MARK_READ, MESSAGES};
use crate::harness::{World, test, user};

const WITH_KEY: &str = "mutation ($input: CreateMessageInput!) { createMessage(input: $input) { message { uuid } } }";
const LIST: &str = "{ messageGroups { nodes { uuid lastMessage { body } } } }";
const UNREAD: &str = "{ messageGroups { nodes { uuid lastMessage { body } unreadCount readCursor } } }";

/// Write units of the messages table so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Units {
    puts: f64,
    updates: f64,
    transactions: f64,
}

impl Units {
    const fn new(puts: f64, updates: f64, transactions: f64) -> Self {
        Self { puts, updates, transactions }
    }

    fn of(world: &World) -> Self {
        let units = |operation| world.proxy.write_units(operation);
        Self::new(units("PutItem"), units("UpdateItem"), units("TransactWriteItems"))
    }
}

impl Sub for Units {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.puts - other.puts, self.updates - other.updates, self.transactions - other.transactions)
    }
}

/// A transaction costs two units for each item of up to 1 KB, and each change of a row costs one more in the index.
#[test]
fn a_message_costs_one_write_unit_and_its_move_sixteen() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (client, of_ben) = (server.client(&ana), server.client(&ben));
        let fed = async |count| of_ben.next_events(&Value::Null, count).await;
        let before = Units::of(&world);
        let sent = client.send_to(&ben, "1").await;
        let to_group = json!({ "messageGroupUuid": sent["messageGroup"]["uuid"] });
        assert_eq!(Units::of(&world) - before, Units::new(0.0, 0.0, 12.0), "pair, membership, message and two rows");

        let before = Units::of(&world);
        let consumer = world.consumer();
        fed(1).await;
        assert_eq!(Units::of(&world) - before, Units::new(0.0, 0.0, 10.0), "two rows in place and two entries");

        let before = Units::of(&world);
        client.send(to_group.clone(), "2").await;
        fed(2).await;
        assert_eq!(Units::of(&world) - before, Units::new(1.0, 0.0, 16.0), "two rows moved and two entries");

        let before = Units::of(&world);
        let input = json!({ "to": to_group, "body": "3", "idempotencyKey": Uuid::new_v4() });
        client.data(WITH_KEY, json!({ "input": input })).await;
        fed(3).await;
        assert_eq!(Units::of(&world) - before, Units::new(2.0, 0.0, 16.0), "and the key");

        // Five messages in one batch share the move.
        assert!(consumer.finish().await);
        let before = Units::of(&world);
        for body in ["4", "5", "6", "7", "8"] {
            client.send(to_group.clone(), body).await;
        }
        let consumer = world.consumer();
        fed(8).await;
        assert_eq!(Units::of(&world) - before, Units::new(5.0, 0.0, 18.0), "ben's entry is larger than 1 KB");

        let before = Units::of(&world);
        let data = of_ben.data(MESSAGES, json!({ "group": to_group["messageGroupUuid"] })).await;
        let last = data["messages"]["edges"].as_array().and_then(|edges| edges.last()).expect("a message");
        let variables = json!({ "group": to_group["messageGroupUuid"], "upTo": last["cursor"] });
        of_ben.data(MARK_READ, variables).await;
        assert_eq!(Units::of(&world) - before, Units::new(0.0, 2.0, 0.0), "the row and the index");
        assert!(consumer.finish().await);
    });
}

#[test]
fn lists_cost_the_same_with_unread_counts_and_a_page_of_the_feed_costs_its_size() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (client, of_ben) = (server.client(&ana), server.client(&ben));
        let group = client.send_to(&ben, "0").await["messageGroup"]["uuid"].clone();
        let consumer = world.consumer();
        for number in 1..100 {
            client.send(json!({ "messageGroupUuid": group }), &number.to_string()).await;
        }
        of_ben.next_events(&Value::Null, 100).await;
        assert!(consumer.finish().await);
        let read = async |query: &str| {
            let before = (world.proxy.all_calls(), world.proxy.read_units());
            let data = of_ben.data(query, json!({})).await;
            (data, world.proxy.all_calls() - before.0, world.proxy.read_units() - before.1)
        };
        let (_, calls, units) = read(LIST).await;
        let (unread, calls_with_unread, units_with_unread) = read(UNREAD).await;
        assert_eq!(unread["messageGroups"]["nodes"][0]["unreadCount"], 100);
        assert_eq!((calls_with_unread, units_with_unread), (calls, units));
        let (page, calls, units) = read("{ feed(first: 100) { events { cursor } hasNextPage } }").await;
        assert_eq!(page["feed"]["events"].as_array().map(Vec::len), Some(100));
        assert_eq!(calls, 1);
        // An entry has at most 100 messages, and at least one. 4 KB cost one unit.
        assert!((4.0..=20.0).contains(&units), "{units} units");
    });
}
