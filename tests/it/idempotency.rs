//! Idempotent sends: requests with the same key store one message, on both access patterns, on any server, and after a
//! failure of any write.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::fault_proxy::Fault::{self, Answer, LoseAnswer, Pass};
use crate::harness::{Client, TABLE, TestUser, World, test, user};

const SEND: &str = "mutation Send($input: CreateMessageInput!) {
    createMessage(input: $input) {
        message { uuid messageGroupUuid body createdAt author { uuid } }
        messageGroup { uuid lastMessageAt lastMessage { uuid body createdAt } otherParticipant { uuid } }
    }
}";

/// More attempts than the server makes for one write.
pub const ALL_ATTEMPTS: usize = 100;
/// Number of attempts that the SDK makes for one call.
const SDK_ATTEMPTS: usize = 3;
pub const UNAVAILABLE: Fault = Answer(500, "InternalServerError");

/// Two users, and the group that they share before the test begins, if any.
pub struct Pair {
    pub world: World,
    pub ana: TestUser,
    pub ben: TestUser,
    pub group: Option<Value>,
}

impl Pair {
    /// Two users without a group: the first message follows pattern D.
    pub async fn strangers() -> Self {
        let world = World::new().await;
        Self { world, ana: user("ana").await, ben: user("ben").await, group: None }
    }

    /// Two users with a group: messages follow pattern C.
    pub async fn friends() -> Self {
        let pair = Self::strangers().await;
        let first = pair.world.server().await.client(&pair.ben).send_to(&pair.ana, "first").await;
        Self { group: Some(first["messageGroup"]["uuid"].clone()), ..pair }
    }

    /// The operation that stores the message of ana.
    fn operation(&self) -> &'static str {
        if self.group.is_some() { "PutItem" } else { "TransactWriteItems" }
    }

    /// A server with empty caches, as ana uses it.
    pub async fn ana(&self) -> Client {
        self.world.server().await.client(&self.ana)
    }

    pub fn to_ben(&self, body: &str, key: Uuid) -> Value {
        json!({ "to": { "handle": self.ben.handle() }, "body": body, "idempotencyKey": key })
    }

    /// Asserts that both users have one group, with these messages after the first one, of which `sent` is one.
    pub async fn assert_stored(&self, bodies: &[&str], sent: &Value) {
        let before: &[&str] = if self.group.is_some() { &["first"] } else { &[] };
        for me in [&self.ana, &self.ben] {
            let client = self.world.server().await.client(me);
            assert_eq!(client.groups(10).await.len(), 1);
            let group = &sent["messageGroup"]["uuid"];
            assert_eq!(self.group.as_ref().unwrap_or(group), group);
            assert_eq!(client.bodies(group).await, [before, bodies].concat());
            let stored = client.data(crate::harness::client::MESSAGES, json!({ "group": group })).await;
            let stored = stored["messages"]["nodes"].as_array().expect("nodes").clone();
            let stored = stored.iter().find(|it| it["uuid"] == sent["message"]["uuid"]).expect("the message");
            assert_eq!(stored["createdAt"], sent["message"]["createdAt"]);
        }
    }
}

pub async fn send(client: &Client, input: Value) -> Value {
    client.data(SEND, json!({ "input": input })).await["createMessage"].clone()
}

pub async fn execute(client: &Client, input: &Value) -> Value {
    client.execute(SEND, json!({ "input": input })).await
}

#[test]
fn a_repeat_returns_the_first_result_on_every_server() {
    test(async {
        for pair in [Pair::strangers().await, Pair::friends().await] {
            let input = pair.to_ben("once", Uuid::new_v4());
            let ana = pair.ana().await;
            let sent = send(&ana, input.clone()).await;
            assert_eq!(sent["messageGroup"]["lastMessage"]["uuid"], sent["message"]["uuid"]);
            assert_eq!(send(&ana, input.clone()).await, sent);
            assert_eq!(send(&pair.ana().await, input.clone()).await, sent);
            // The user may name the conversation in another way, and confirm the recipient.
            let mut by_group = input.clone();
            by_group["to"] = json!({ "messageGroupUuid": sent["messageGroup"]["uuid"] });
            by_group["recipientUuid"] = json!(pair.ben.uuid().0);
            assert_eq!(send(&pair.ana().await, by_group.clone()).await, sent);
            pair.assert_stored(&["once"], &sent).await;
            // The first request names the group and the second one the handle.
            let mut input = pair.to_ben("twice", Uuid::new_v4());
            by_group["body"] = json!("twice");
            by_group["idempotencyKey"] = input["idempotencyKey"].clone();
            let second = send(&ana, by_group).await;
            input["recipientUuid"] = json!(pair.ben.uuid().0);
            assert_eq!(send(&pair.ana().await, input).await, second);
            pair.assert_stored(&["once", "twice"], &second).await;
        }
    });
}

#[test]
fn two_servers_that_get_a_request_at_the_same_time_store_one_message() {
    test(async {
        for pair in [Pair::strangers().await, Pair::friends().await] {
            let (one, other) = (pair.ana().await, pair.ana().await);
            let input = pair.to_ben("once", Uuid::new_v4());
            // Both servers write the key at the same time, and strangers also the group.
            pair.world.proxy.gather("PutItem", 2);
            pair.world.proxy.gather("TransactWriteItems", if pair.group.is_some() { 0 } else { 2 });
            let (sent, again) = tokio::join!(send(&one, input.clone()), send(&other, input));
            assert_eq!(sent, again);
            pair.assert_stored(&["once"], &sent).await;
        }
    });
}

#[test]
fn a_message_whose_request_ended_between_its_writes_is_stored_by_a_repeat() {
    test(async {
        for pair in [Pair::strangers().await, Pair::friends().await] {
            let input = pair.to_ben("once", Uuid::new_v4());
            let ana = pair.ana().await;
            let key_put = (pair.operation() == "PutItem").then_some(Pass);
            pair.world.proxy.next(pair.operation(), key_put.into_iter().chain(vec![UNAVAILABLE; ALL_ATTEMPTS]));
            let failed = execute(&ana, &input).await;
            let expected = json!({ "code": "UNAVAILABLE", "outcome": "UNKNOWN" });
            assert_eq!(failed["errors"][0]["extensions"], expected, "{failed}");
            pair.world.proxy.forget(pair.operation());
            // Meanwhile the other user writes. The repeat is sorted at the time of the first request.
            let other = pair.world.server().await.client(&pair.ben).send_to(&pair.ana, "later").await;
            let sent = send(&pair.ana().await, input.clone()).await;
            assert!(sent["message"]["createdAt"].as_str() < other["message"]["createdAt"].as_str());
            assert_eq!(send(&ana, input).await, sent);
            pair.assert_stored(&["once", "later"], &sent).await;
        }
    });
}

#[test]
fn lost_responses_at_every_write_leave_one_message() {
    test(async {
        let losses = [(1, 0), (SDK_ATTEMPTS, 0), (SDK_ATTEMPTS + 1, 0), (0, 1), (0, SDK_ATTEMPTS + 1), (1, 1)];
        let losses = losses.into_iter().chain([(0, ALL_ATTEMPTS)]);
        futures::future::join_all(losses.map(|(key, message)| async move {
            assert_one_message_despite_losses(Pair::strangers().await, key, message).await;
            assert_one_message_despite_losses(Pair::friends().await, key, message).await;
        }))
        .await;
    });
}

/// Sends a message while the first responses to the writes of its key and of the message are lost, and then once more.
async fn assert_one_message_despite_losses(pair: Pair, of_key: usize, of_message: usize) {
    let proxy = &pair.world.proxy;
    let input = pair.to_ben("once", Uuid::new_v4());
    // The attempt after the lost ones gets its response.
    proxy.next("PutItem", [vec![LoseAnswer; of_key], vec![Pass]].concat());
    proxy.next(pair.operation(), vec![LoseAnswer; of_message]);
    let answer = execute(&pair.ana().await, &input).await;
    if of_message == ALL_ATTEMPTS {
        assert_eq!(answer["errors"][0]["extensions"]["outcome"], "UNKNOWN", "{answer}");
        proxy.forget(pair.operation());
    } else {
        assert_eq!(answer["errors"], Value::Null, "{answer}");
        assert!(proxy.is_spent());
    }
    let sent = send(&pair.ana().await, input).await;
    assert!(answer["data"].is_null() || answer["data"]["createMessage"] == sent, "{answer} {sent}");
    pair.assert_stored(&["once"], &sent).await;
}

#[test]
fn without_the_key_stored_the_message_is_not_stored_and_the_error_says_so() {
    test(async {
        for pair in [Pair::strangers().await, Pair::friends().await] {
            let input = pair.to_ben("once", Uuid::new_v4());
            pair.world.proxy.next("PutItem", vec![UNAVAILABLE; ALL_ATTEMPTS]);
            let failed = execute(&pair.ana().await, &input).await;
            assert_eq!(failed["errors"][0]["extensions"], json!({ "code": "UNAVAILABLE" }), "{failed}");
            pair.world.proxy.forget("PutItem");
            let sent = send(&pair.ana().await, input).await;
            pair.assert_stored(&["once"], &sent).await;
        }
    });
}

#[test]
fn an_engine_that_does_not_return_the_existing_item_is_asked_for_it() {
    test(async {
        let pair = Pair::friends().await;
        let input = pair.to_ben("once", Uuid::new_v4());
        let rejected = Answer(400, "ConditionalCheckFailedException");
        // There is no item when the server asks for it, as if it had expired, so the put is repeated.
        pair.world.proxy.next("PutItem", [rejected.clone()]);
        let sent = send(&pair.ana().await, input.clone()).await;
        pair.world.proxy.next("PutItem", [rejected]);
        let puts = pair.world.proxy.calls("PutItem");
        assert_eq!(send(&pair.ana().await, input).await, sent);
        assert_eq!(pair.world.proxy.calls("PutItem"), puts + 2, "the key and the message, without a retry");
        pair.assert_stored(&["once"], &sent).await;
    });
}

#[test]
fn the_keys_of_two_users_are_independent() {
    test(async {
        let pair = Pair::strangers().await;
        let key = Uuid::new_v4();
        let to_ana = json!({ "to": { "handle": pair.ana.handle() }, "body": "from ben", "idempotencyKey": key });
        let sent = send(&pair.ana().await, pair.to_ben("from ana", key)).await;
        let answer = send(&pair.world.server().await.client(&pair.ben), to_ana).await;
        assert_ne!(sent["message"]["uuid"], answer["message"]["uuid"]);
        pair.assert_stored(&["from ana", "from ben"], &sent).await;
    });
}

#[test]
fn a_key_costs_one_write_unit_and_no_read() {
    test(async {
        let calls = |pair: &Pair| {
            let proxy = &pair.world.proxy;
            let units = proxy.write_units("PutItem") + proxy.write_units("TransactWriteItems");
            (proxy.all_calls(), proxy.calls("PutItem"), units)
        };
        let pair = Pair::friends().await;
        let client = pair.ana().await;
        let group = json!({ "messageGroupUuid": pair.group });
        client.send(group.clone(), "fills the caches").await;
        client.send_to(&pair.ben, "fills the caches").await;
        let long = "x".repeat(700);
        for to in [group, json!({ "handle": pair.ben.handle() })] {
            // A null key is no key.
            let mut input = json!({ "to": to, "body": long, "idempotencyKey": null });
            for (expected_calls, expected_units) in [(1, 1.0), (2, 2.0), (2, 0.0)] {
                let (all, puts, units) = calls(&pair);
                send(&client, input.clone()).await;
                let (all, puts, units) = (calls(&pair).0 - all, calls(&pair).1 - puts, calls(&pair).2 - units);
                // The conditional puts of a repeat fail, and the engine reports no units for them.
                assert_eq!((all, puts, units), (expected_calls, expected_calls, expected_units), "{input}");
                if input["idempotencyKey"].is_null() {
                    input["idempotencyKey"] = json!(Uuid::new_v4());
                }
            }
        }
        // A first message costs the transaction, and one unit more with a key.
        let mut costs = Vec::new();
        for key in [Value::Null, json!(Uuid::new_v4())] {
            let pair = Pair::strangers().await;
            let client = pair.ana().await;
            let before = calls(&pair);
            send(&client, json!({ "to": { "handle": pair.ben.handle() }, "body": "once", "idempotencyKey": key }))
                .await;
            let after = calls(&pair);
            costs.push((after.0 - before.0, after.2 - before.2));
        }
        assert_eq!((costs[1].0, costs[1].1), (costs[0].0 + 1, costs[0].1 + 1.0));
    });
}

#[test]
fn the_item_of_a_key_expires_after_thirty_days_and_is_not_in_the_index() {
    test(async {
        let pair = Pair::friends().await;
        let key = Uuid::new_v4();
        let sent = send(&pair.ana().await, pair.to_ben("once", key)).await;
        let get = pair.world.aws.dynamodb.get_item().table_name(TABLE);
        let get = get.key("pk", AttributeValue::S(format!("KEY#{}#{key}", pair.ana.uuid())));
        let item =
            get.key("sk", AttributeValue::S("KEY".into())).send().await.expect("a response").item.expect("an item");
        assert!(!item.contains_key("message_group_uuid") && !format!("{item:?}").contains("once"), "{item:?}");
        let seconds: i64 = item["expires_at"].as_n().expect("a number").parse().expect("a whole number");
        let sent_at: DateTime<Utc> = sent["message"]["createdAt"].as_str().expect("a time").parse().expect("a time");
        assert!((0..60).contains(&(seconds - sent_at.timestamp() - 30 * 24 * 60 * 60)), "{seconds} {sent_at}");
        let ttl = pair.world.aws.dynamodb.describe_time_to_live().table_name(TABLE).send().await.expect("a response");
        let ttl = ttl.time_to_live_description.expect("a description");
        assert_eq!(ttl.attribute_name.as_deref(), Some("expires_at"));
    });
}
