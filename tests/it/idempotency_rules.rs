//! Which requests repeat an earlier one with the same idempotency key, and which are rejected; and `recipientUuid`.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::code_and_reason;
use crate::harness::fault_proxy::Fault::Pass;
use crate::harness::legacy::LegacyGroup;
use crate::harness::{TestUser, World, shared, test, user};
use crate::idempotency::{ALL_ATTEMPTS, Pair, UNAVAILABLE, execute, send};

fn bad_input(reason: &str) -> (String, Option<String>) {
    ("BAD_USER_INPUT".to_owned(), Some(reason.to_owned()))
}

async fn set_handle(user: &TestUser, handle: &str) {
    let update = sqlx::query("UPDATE public.users SET handle = $1 WHERE uuid = $2").bind(handle).bind(user.uuid().0);
    update.execute(shared().await.users.pool()).await.expect("a handle");
}

#[test]
fn a_key_with_another_body_or_recipient_is_rejected() {
    test(async {
        let pair = Pair::friends().await;
        let cleo = user("cleo").await;
        let client = pair.ana().await;
        let other = client.send_to(&cleo, "hello").await["messageGroup"]["uuid"].clone();
        let key = Uuid::new_v4();
        let sent = send(&client, pair.to_ben("once", key)).await;
        let calls = pair.world.proxy.calls("TransactWriteItems");
        for (to, body) in [
            (json!({ "handle": pair.ben.handle() }), "once "),
            (json!({ "messageGroupUuid": pair.group }), "another"),
            (json!({ "handle": cleo.handle() }), "once"),
            (json!({ "messageGroupUuid": other }), "once"),
            (json!({ "handle": user("new").await.handle() }), "once"),
        ] {
            let answer = execute(&client, &json!({ "to": to, "body": body, "idempotencyKey": key })).await;
            assert_eq!(code_and_reason(&answer), bad_input("idempotency_key_reused"), "{to} {body}: {answer}");
        }
        assert_eq!(pair.world.proxy.calls("TransactWriteItems"), calls);
        assert_eq!(client.bodies(&other).await, ["hello"]);
        assert_eq!(client.bodies(&sent["messageGroup"]["uuid"]).await, ["first", "once"]);
        // Two fields of one request are two requests.
        let twice = |body: &str| {
            let field = |name: &str, body: &str| {
                format!(
                    "{name}: createMessage(input: {{ to: {{ messageGroupUuid: {other} }}, body: \"{body}\", \
                     idempotencyKey: \"{key}\" }}) {{ message {{ uuid }} }}",
                    key = Uuid::from_u128(9)
                )
            };
            format!("mutation {{ {} {} }}", field("one", "twice"), field("other", body))
        };
        let answer = client.execute(&twice("other"), json!({})).await;
        assert_eq!(code_and_reason(&answer), bad_input("idempotency_key_reused"), "{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["outcome"], "STORED");
        let data = client.data(&twice("twice"), json!({})).await;
        assert_eq!(data["one"], data["other"]);
        assert_eq!(client.bodies(&other).await, ["hello", "twice"]);
    });
}

#[test]
fn a_handle_that_belongs_to_nobody_or_another_user_by_now_leads_to_the_first_recipient() {
    test(async {
        for is_completed in [true, false] {
            let pair = Pair::strangers().await;
            let handle = pair.ben.handle().to_owned();
            let input = pair.to_ben("for ben", Uuid::new_v4());
            let first = if is_completed {
                Some(send(&pair.ana().await, input.clone()).await)
            } else {
                pair.world.proxy.next("TransactWriteItems", vec![UNAVAILABLE; ALL_ATTEMPTS]);
                execute(&pair.ana().await, &input).await;
                pair.world.proxy.forget("TransactWriteItems");
                None
            };
            let with = |name: &str, value: Value| {
                let mut input = input.clone();
                input[name] = value;
                input
            };
            set_handle(&pair.ben, &format!("{handle}-renamed")).await;
            let client = pair.ana().await;
            for (input, reason) in [
                (with("body", json!("for whom?")), "recipient_not_found"),
                (with("idempotencyKey", json!(Uuid::new_v4())), "recipient_not_found"),
            ] {
                assert_eq!(code_and_reason(&execute(&client, &input).await), bad_input(reason));
            }
            let sent = send(&client, input.clone()).await;
            assert!(first.is_none_or(|first| first == sent));
            let cleo = user("cleo").await;
            set_handle(&cleo, &handle).await;
            assert_eq!(send(&client, input.clone()).await, sent, "another user has the handle");
            assert_eq!(send(&client, with("recipientUuid", json!(pair.ben.uuid().0))).await, sent);
            for (input, reason) in [
                (with("recipientUuid", json!(cleo.uuid().0)), "idempotency_key_reused"),
                (with("recipientUuid", json!(pair.ana.uuid().0)), "recipient_changed"),
                (with("body", json!("for whom?")), "idempotency_key_reused"),
            ] {
                assert_eq!(code_and_reason(&execute(&client, &input).await), bad_input(reason), "{input}");
            }
            pair.assert_stored(&["for ben"], &sent).await;
            assert_eq!(pair.world.server().await.client(&cleo).groups(1).await, Vec::<Value>::new());
            // The first recipient may not even exist any more.
            let delete = sqlx::query("DELETE FROM public.users WHERE uuid = $1").bind(pair.ben.uuid().0);
            delete.execute(shared().await.users.pool()).await.expect("no user");
            assert_eq!(send(&pair.ana().await, input.clone()).await, sent);
        }
    });
}

#[test]
fn a_recipient_that_is_not_the_expected_user_is_rejected_and_nothing_is_written() {
    test(async {
        let pair = Pair::friends().await;
        let client = pair.ana().await;
        let cleo = user("cleo").await;
        let by_handle = json!({ "handle": pair.ben.handle() });
        let by_group = json!({ "messageGroupUuid": pair.group });
        let writes = || pair.world.proxy.calls("PutItem") + pair.world.proxy.calls("TransactWriteItems");
        for key in [Value::Null, json!(Uuid::new_v4())] {
            let before = writes();
            let expecting = |to: &Value, expected: &TestUser| json!({ "to": to, "body": "for whom?", "recipientUuid": expected.uuid().0, "idempotencyKey": key });
            for input in [
                expecting(&by_handle, &cleo),
                expecting(&by_handle, &pair.ana),
                expecting(&by_group, &cleo),
                expecting(&by_group, &pair.ana),
                // The handle of the author leads to the author.
                expecting(&json!({ "handle": pair.ana.handle() }), &pair.ben),
            ] {
                let answer = execute(&client, &input).await;
                assert_eq!(code_and_reason(&answer), bad_input("recipient_changed"), "{input}: {answer}");
            }
            let own = expecting(&json!({ "handle": pair.ana.handle() }), &pair.ana);
            assert_eq!(code_and_reason(&execute(&client, &own).await), bad_input("recipient_is_self"));
            assert_eq!(writes(), before);
            for to in [&by_handle, &by_group] {
                // Each rejected request left its key unused. The second one repeats the first one if there is a key.
                send(&client, expecting(to, &pair.ben)).await;
            }
        }
        let expected = ["first", "for whom?", "for whom?", "for whom?"];
        assert_eq!(client.bodies(pair.group.as_ref().expect("a group")).await, expected);
    });
}

#[test]
fn a_rejected_request_does_not_store_its_key() {
    test(async {
        let pair = Pair::friends().await;
        let client =
            pair.world.server_where(|parts| parts.requests.http.messages_per_minute = 4).await.client(&pair.ana);
        let writes = || pair.world.proxy.calls("PutItem") + pair.world.proxy.calls("TransactWriteItems");
        let (key, before) = (Uuid::new_v4(), writes());
        let to_ben = json!({ "handle": pair.ben.handle() });
        let no_group = json!({ "messageGroupUuid": Uuid::new_v4() });
        for (to, body, key, code, reason) in [
            (&to_ben, " ", json!(key), "BAD_USER_INPUT", Some("message_blank")),
            (&to_ben, "once", json!("no uuid"), "BAD_USER_INPUT", Some("request_invalid")),
            (&to_ben, "once", json!(7), "BAD_USER_INPUT", Some("request_invalid")),
            (
                &json!({ "handle": "nobody-has-this" }),
                "once",
                json!(key),
                "BAD_USER_INPUT",
                Some("recipient_not_found"),
            ),
            (&json!({ "handle": "" }), "once", json!(key), "BAD_USER_INPUT", Some("handle_blank")),
            (&no_group, "once", json!(key), "NOT_FOUND", None),
        ] {
            let answer = execute(&client, &json!({ "to": to, "body": body, "idempotencyKey": key })).await;
            let expected = (code.to_owned(), reason.map(str::to_owned));
            assert_eq!(code_and_reason(&answer), expected, "{to} {body} {key}: {answer}");
        }
        assert_eq!(writes(), before);
        // Three of these requests counted for the throttle.
        let sent = send(&client, pair.to_ben("once", key)).await;
        let written = writes();
        let answer = execute(&client, &pair.to_ben("once", key)).await;
        assert_eq!(code_and_reason(&answer), ("THROTTLED".to_owned(), None), "{answer}");
        assert_eq!(writes(), written);
        pair.assert_stored(&["once"], &sent).await;
    });
}

#[test]
fn of_two_legacy_groups_of_a_pair_only_the_first_one_with_the_key_gets_the_message() {
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (older, newer) = (LegacyGroup::new(), LegacyGroup::new());
        for (group, at) in [(&older, "2022-05-04T10:00:00"), (&newer, "2022-05-05T10:00:00")] {
            group.message(&world, at, &ana, "legacy").await;
            group.row(&world, at, &ana, &ben, "legacy").await;
            group.row(&world, at, &ben, &ana, "legacy").await;
        }
        let key = Uuid::new_v4();
        let to = |to: Value| json!({ "to": to, "body": "once", "idempotencyKey": key });
        let by_handle = to(json!({ "handle": ben.handle() }));
        let (to_older, to_newer) =
            (json!({ "messageGroupUuid": older.uuid }), json!({ "messageGroupUuid": newer.uuid }));
        // The first request ends after it has stored the key.
        world.proxy.next("PutItem", [Pass]);
        world.proxy.next("PutItem", vec![UNAVAILABLE; ALL_ATTEMPTS]);
        execute(&world.server().await.client(&ana), &to(to_older.clone())).await;
        world.proxy.forget("PutItem");
        for input in [&by_handle, &to(to_newer)] {
            let answer = execute(&world.server().await.client(&ana), input).await;
            assert_eq!(code_and_reason(&answer), bad_input("idempotency_key_reused"), "{answer}");
        }
        for _ in 0..2 {
            let client = world.server().await.client(&ana);
            let sent = send(&client, to(to_older.clone())).await;
            assert_eq!(sent["messageGroup"]["uuid"], json!(older.uuid));
            assert_eq!(client.bodies(&json!(older.uuid)).await, ["legacy", "once"]);
            assert_eq!(client.bodies(&json!(newer.uuid)).await, ["legacy"]);
        }
    });
}
