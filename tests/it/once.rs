//! A pair has one group and a message is stored once, even if responses are lost or several servers write concurrently.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::client::CREATE;
use crate::harness::fault_proxy::Fault::{Answer, LoseAnswer};
use crate::harness::{World, test, user};

/// Number of attempts that the SDK makes for one call. Its caller gets an error after so many lost responses.
const SDK_ATTEMPTS: usize = 3;

#[test]
fn a_lost_response_to_the_first_message_leaves_one_message() {
    test(async {
        for lost in [1, SDK_ATTEMPTS, SDK_ATTEMPTS + 1] {
            let world = World::new().await;
            let server = world.server().await;
            let (ana, ben) = (user("ana").await, user("ben").await);
            world.proxy.next("TransactWriteItems", vec![LoseAnswer; lost]);
            let sent = server.client(&ana).send_to(&ben, "once").await;
            assert!(world.proxy.is_spent());
            for client in [server.client(&ana), server.client(&ben)] {
                assert_eq!(client.bodies(&sent["messageGroup"]["uuid"]).await, ["once"], "{lost} lost");
                assert_eq!(client.groups(100).await.len(), 1);
            }
        }
    });
}

#[test]
fn a_lost_response_to_a_later_message_leaves_one_message() {
    test(async {
        for lost in [1, SDK_ATTEMPTS, SDK_ATTEMPTS + 1] {
            let world = World::new().await;
            let server = world.server().await;
            let (ana, ben) = (user("ana").await, user("ben").await);
            let client = server.client(&ana);
            let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
            world.proxy.next("PutItem", vec![LoseAnswer; lost]);
            client.send(json!({ "messageGroupUuid": group }), "once").await;
            assert!(world.proxy.is_spent());
            assert_eq!(client.bodies(&group).await, ["first", "once"], "{lost} lost");
        }
    });
}

#[test]
fn a_retry_after_the_token_expired_finds_its_own_write() {
    test(async {
        use cruddur_messaging::messages_table::{Created, Membership, Message, SortKey};
        use cruddur_messaging::model::{MessageGroupUuid, MessageUuid};
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = MessageGroupUuid(uuid::Uuid::new_v4());
        let attempt = async |body: &str, uuid: u128| {
            let uuid = MessageUuid(uuid::Uuid::from_u128(uuid));
            let created_at = "2026-11-22T10:42:39.123456Z".parse().expect("a time");
            let sort_key = SortKey::of_message(created_at, uuid);
            let author = ana.participant();
            let message = Message { uuid, group, author, body: body.into(), created_at, sort_key };
            let participants = [ana.participant(), ben.participant()];
            let membership = Membership::begin(group, participants);
            world.table.create_conversation(None, &membership, &message, &message).await.expect("an outcome")
        };
        assert_eq!(attempt("once", 1).await, Created::Done);
        // A new token, as after the ten minutes during which DynamoDB remembers the first one.
        assert_eq!(attempt("again", 2).await, Created::PairExists(group));
    });
}

#[test]
fn when_the_table_stays_unavailable_the_error_says_that_the_outcome_is_unknown() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        world.proxy.next("TransactWriteItems", vec![Answer(500, "InternalServerError"); 100]);
        let answer =
            server.client(&ana).execute(CREATE, json!({ "to": { "handle": ben.handle() }, "body": "x" })).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions, &json!({ "code": "UNAVAILABLE", "outcome": "UNKNOWN" }));
    });
}

#[test]
fn a_throttled_read_is_unavailable_and_nothing_is_written() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        world.proxy.next("GetItem", vec![Answer(400, "ProvisionedThroughputExceededException"); 100]);
        let answer =
            server.client(&ana).execute(CREATE, json!({ "to": { "handle": ben.handle() }, "body": "x" })).await;
        assert_eq!(answer["errors"][0]["extensions"], json!({ "code": "UNAVAILABLE" }));
        assert_eq!(world.proxy.calls("TransactWriteItems"), 0);
    });
}

#[test]
fn fifty_concurrent_first_messages_create_one_group() {
    test(async {
        let world = World::new().await;
        let servers = [world.server().await, world.server().await];
        let (ana, ben) = (user("ana").await, user("ben").await);
        world.proxy.gather("TransactWriteItems", 20);
        let sends = (0..50).map(|number| {
            let (author, recipient) = if number % 2 == 0 { (&ana, &ben) } else { (&ben, &ana) };
            let client = servers[number / 2 % 2].client(author);
            let to = json!({ "handle": recipient.handle() });
            async move { client.send(to, &format!("message {number}")).await }
        });
        let sent: Vec<Value> = futures::future::join_all(sends).await;
        let groups: HashSet<String> = sent.iter().map(|it| it["messageGroup"]["uuid"].to_string()).collect();
        assert_eq!(groups.len(), 1, "{groups:?}");
        for client in [servers[0].client(&ana), servers[1].client(&ben)] {
            let bodies: Vec<String> = client.bodies(&sent[0]["messageGroup"]["uuid"]).await;
            assert_eq!(bodies.len(), 50);
            assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), 50);
            assert_eq!(client.groups(100).await.len(), 1);
        }
    });
}

#[test]
fn a_conflict_with_another_transaction_is_retried() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        world.proxy.next("TransactWriteItems", vec![Answer(400, "TransactionInProgressException"); 2]);
        let sent = server.client(&ana).send_to(&ben, "through").await;
        assert_eq!(server.client(&ben).bodies(&sent["messageGroup"]["uuid"]).await, ["through"]);
    });
}
