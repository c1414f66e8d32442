//! Users are loaded in batches, and shown with their current names.

use std::sync::{Arc, Mutex};

use cruddur_messaging::users::Users;
use serde_json::json;

use crate::harness::client::{GROUPS, MESSAGES};
use crate::harness::legacy::LegacyGroup;
use crate::harness::postgres_relay::relayed;
use crate::harness::{World, eventually, shared, test, user, user_in};

#[test]
fn a_hundred_groups_with_all_their_users_cost_one_select() {
    test(async {
        let world = World::new().await;
        let (_postgres, relay, users) = relayed().await;
        let ana = user_in(&users, "ana").await;
        let mut friends = Vec::new();
        for number in 0..100 {
            let friend = user_in(&users, "friend").await;
            // Some rows are legacy rows, whose newest message needs one more read.
            if number % 4 == 0 {
                let group = LegacyGroup::new();
                let at = format!("2022-05-04T10:{:02}:{:02}.5", number / 60, number % 60);
                group.message(&world, &at, &friend, "from before").await;
                group.row(&world, &at, &ana, &friend, "from before").await;
            }
            friends.push(friend);
        }
        let server = world.server_with(users.clone(), shared().await.token_issuer.clone()).await;
        for friend in friends.iter().enumerate().filter(|(number, _)| number % 4 != 0).map(|(_, friend)| friend) {
            server.client(friend).send_to(&ana, "hello").await;
        }
        // Another server, whose user cache is empty.
        let server = world.server_with(Users::new(users.pool().clone()), shared().await.token_issuer.clone()).await;
        let client = server.client(&ana);
        client.data("{ me { handle } }", json!({})).await;
        let before = relay.selects();
        let data = client.data(GROUPS, json!({ "first": 100 })).await;
        let nodes = data["messageGroups"]["nodes"].as_array().expect("nodes");
        assert_eq!(nodes.len(), 100);
        assert!(nodes.iter().all(|node| node["lastMessage"]["author"] == node["participants"][1]), "{nodes:?}");
        assert_eq!(relay.selects() - before, 1);

        // Thousands of loads on one level cause one SELECT too.
        let server = world.server_with(Users::new(users.pool().clone()), shared().await.token_issuer.clone()).await;
        let client = server.client(&ana);
        client.data("{ me { handle } }", json!({})).await;
        let before = relay.selects();
        let aliases: String = (0..30)
            .map(|it| {
                format!("a{it}: nodes {{ lastMessage {{ author {{ handle }} }} otherParticipant {{ handle }} }} ")
            })
            .collect();
        client.data(&format!("{{ messageGroups(first: 100) {{ {aliases} }} }}"), json!({})).await;
        assert_eq!(relay.selects() - before, 1);
    });
}

#[test]
fn a_changed_name_is_shown_everywhere_and_a_deleted_user_with_the_copied_name() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "hello").await["messageGroup"]["uuid"].clone();
        server.client(&ben).send_to(&ana, "hello yourself").await;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let names = async || {
            let list = &client.groups(10).await[0];
            let history = client.data(MESSAGES, json!({ "group": group })).await;
            let author = &history["messages"]["nodes"][1]["author"];
            let names = vec![
                list["otherParticipant"]["handle"].clone(),
                author["handle"].clone(),
                author["displayName"].clone(),
            ];
            *shown.lock().expect("names") = names.clone();
            names
        };
        assert_eq!(names().await[0], ben.handle());
        let renamed = format!("renamed-{}", ben.handle());
        let pool = shared().await.users.pool();
        sqlx::query("UPDATE public.users SET handle = $1, display_name = 'Benjamin' WHERE uuid = $2")
            .bind(&renamed)
            .bind(ben.uuid().0)
            .execute(pool)
            .await
            .expect("an update");
        let wanted = vec![json!(renamed), json!(renamed), json!("Benjamin")];
        eventually("the new name", || async { (names().await == wanted).then_some(()) }).await;
        // The new handle is a valid recipient immediately.
        assert_eq!(client.send(json!({ "handle": renamed }), "again").await["messageGroup"]["uuid"], group);

        sqlx::query("DELETE FROM public.users WHERE uuid = $1")
            .bind(ben.uuid().0)
            .execute(pool)
            .await
            .expect("a delete");
        let wanted = vec![json!(ben.handle()), json!(ben.handle()), json!("ben the tester")];
        eventually("the copied name", || async { (names().await == wanted).then_some(()) }).await;
    });
}
