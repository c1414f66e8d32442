//! Membership checks: participants have access immediately on every server, and nobody else has.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{CREATE, MESSAGES};
use crate::harness::{World, test, user};

const GROUP: &str = "query Group($uuid: UUID!) {
    messageGroup(uuid: $uuid) { uuid lastMessage { body } messages { nodes { body } } }
}";

#[test]
fn both_participants_can_read_a_new_group_immediately_on_every_server() {
    test(async {
        let world = World::new().await;
        let (one, other) = (world.server().await, world.server().await);
        let (ana, ben) = (user("ana").await, user("ben").await);
        for number in 0..5 {
            let sent = one.client(&ana).send_to(&ben, &format!("message {number}")).await;
            let group = &sent["messageGroup"]["uuid"];
            for client in [other.client(&ben), other.client(&ana), one.client(&ben)] {
                let data = client.data(GROUP, json!({ "uuid": group })).await;
                assert_eq!(data["messageGroup"]["lastMessage"]["body"], format!("message {number}"));
                assert_eq!(client.bodies(group).await.len(), number + 1);
                assert_eq!(&client.groups(10).await[0]["uuid"], group);
            }
        }
        assert_eq!(world.proxy.lagging_reads(), 0);
    });
}

#[test]
fn for_an_outsider_a_group_looks_like_one_that_does_not_exist() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben, outsider) = (user("ana").await, user("ben").await, user("eve").await);
        let group = server.client(&ana).send_to(&ben, "private").await["messageGroup"]["uuid"].clone();
        let messages_before = world.proxy.calls("PutItem");
        let client = server.client(&outsider);
        let mut answers = Vec::new();
        for uuid in [group.clone(), json!(Uuid::new_v4())] {
            let read = client.execute(MESSAGES, json!({ "group": uuid })).await;
            let written =
                client.execute(CREATE, json!({ "to": { "messageGroupUuid": uuid }, "body": "let me in" })).await;
            let looked = client.execute(GROUP, json!({ "uuid": uuid })).await;
            answers.push([read, written, looked]);
        }
        assert_eq!(answers[0], answers[1]);
        let [read, written, looked] = &answers[0];
        assert_eq!(read["errors"][0]["extensions"], json!({ "code": "NOT_FOUND" }));
        assert_eq!(written["errors"][0]["extensions"], json!({ "code": "NOT_FOUND" }));
        assert_eq!(looked, &json!({ "data": { "messageGroup": null } }));
        assert_eq!(world.proxy.calls("PutItem"), messages_before);
        assert_eq!(client.groups(10).await, Vec::<Value>::new());
        assert_eq!(server.client(&ana).bodies(&group).await, ["private"]);
    });
}

#[test]
fn a_cached_membership_is_not_read_again() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let group = server.client(&ana).send_to(&ben, "hello").await["messageGroup"]["uuid"].clone();
        let before = world.proxy.calls("GetItem");
        server.client(&ben).bodies(&group).await;
        server.client(&ana).bodies(&group).await;
        assert_eq!(world.proxy.calls("GetItem"), before);
    });
}
