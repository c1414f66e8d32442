//! `createMessage`: to a handle, to a group, and the inputs that it rejects.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::{CREATE, code_and_reason};
use crate::harness::{World, test, user};

#[test]
fn a_message_to_a_handle_creates_a_group_and_the_next_message_continues_it() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let first = server.client(&ana).send_to(&ben, "Hello Ben").await;
        assert_eq!(first["message"]["body"], "Hello Ben");
        assert_eq!(first["message"]["author"]["handle"], ana.handle());
        assert_eq!(first["messageGroup"]["otherParticipant"]["handle"], ben.handle());
        assert_eq!(
            first["messageGroup"]["participants"],
            json!([{ "handle": ana.handle() }, { "handle": ben.handle() }])
        );
        let group = &first["messageGroup"]["uuid"];
        assert_eq!(&first["message"]["messageGroupUuid"], group);

        let answer = server.client(&ben).send_to(&ana, "Hello Ana").await;
        assert_eq!(&answer["messageGroup"]["uuid"], group);
        let again = server.client(&ana).send(json!({ "messageGroupUuid": group }), "How are you?").await;
        assert_eq!(&again["messageGroup"]["uuid"], group);
        for client in [server.client(&ana), server.client(&ben)] {
            assert_eq!(client.bodies(group).await, ["Hello Ben", "Hello Ana", "How are you?"]);
        }
    });
}

#[test]
fn the_response_contains_the_stored_message_and_needs_no_read() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        client.send_to(&ben, "one").await;
        let before = world.proxy.all_calls();
        let sent = client.send_to(&ben, "two").await;
        assert_eq!(
            world.proxy.all_calls() - before,
            1,
            "pair and membership are cached, so one PutItem is the only call"
        );
        assert_eq!(sent["messageGroup"]["lastMessage"], json!({ "uuid": sent["message"]["uuid"], "body": "two" }));
        assert_eq!(sent["messageGroup"]["lastMessageAt"], sent["message"]["createdAt"]);
        let at = sent["message"]["createdAt"].as_str().expect("a time");
        assert!(at.len() == "2026-11-22T10:42:39.123456Z".len() && at.ends_with('Z'), "{at}");
        let history =
            client.data(crate::harness::client::MESSAGES, json!({ "group": sent["messageGroup"]["uuid"] })).await;
        let stored = &history["messages"]["nodes"][1];
        for field in ["uuid", "body", "createdAt"] {
            assert_eq!(stored[field], sent["message"][field]);
        }
    });
}

#[test]
fn the_payload_equals_a_later_read_for_every_selection() {
    const FRAGMENTS: &str = "fragment Group on MessageGroup { __typename uuid lastMessageAt lastMessage { ...Message }
        otherParticipant { ...User } participants { ...User } }
        fragment Message on Message { __typename uuid messageGroupUuid body createdAt author { ...User } }
        fragment User on User { __typename uuid handle displayName }";
    test(async {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        for payload in [
            "__typename message { ...Message } group: messageGroup { ...Group }",
            "__typename message { uuid } ... on CreateMessagePayload { message { ...Message } group: messageGroup { ...Group } }",
            "message { ...Message } __typename group: messageGroup { ...Group messages(last: 1) { nodes { ...Message } } }",
        ] {
            // The first request finds an empty user cache, the second one a filled cache.
            let client = world.server().await.client(&ana);
            for _ in 0..2 {
                let send = format!(
                    "mutation($to: MessageRecipient!, $body: String!) {{ sent: createMessage(input: {{ to: $to, body: $body }}) {{ {payload} }} }} {FRAGMENTS}"
                );
                let to = json!({ "to": { "handle": ben.handle() }, "body": payload });
                let sent = client.data(&send, to).await["sent"].clone();
                assert_eq!(
                    (&sent["__typename"], &sent["message"]["body"]),
                    (&json!("CreateMessagePayload"), &json!(payload))
                );
                let read =
                    format!("query($uuid: UUID!) {{ group: messageGroup(uuid: $uuid) {{ ...Group }} }} {FRAGMENTS}");
                let mut group = client.data(&read, json!({ "uuid": sent["group"]["uuid"] })).await["group"].clone();
                assert_eq!(sent["message"], group["lastMessage"]);
                if let Some(messages) = sent["group"].get("messages") {
                    assert_eq!(messages["nodes"], json!([sent["message"]]));
                    group["messages"] = messages.clone();
                }
                assert_eq!(sent["group"], group);
            }
        }
    });
}

#[test]
fn invalid_input_is_rejected_with_a_reason_and_writes_nothing() {
    test(async {
        let world = World::new().await;
        let writes = || world.proxy.calls("PutItem") + world.proxy.calls("TransactWriteItems");
        let before = writes();
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let to_ben = json!({ "handle": ben.handle() });
        let cases: Vec<(Value, String, &str, Option<&str>)> = vec![
            (to_ben.clone(), "".into(), "BAD_USER_INPUT", Some("message_blank")),
            (to_ben.clone(), " \n\u{3000}\t".into(), "BAD_USER_INPUT", Some("message_blank")),
            (to_ben.clone(), "x".repeat(1025), "BAD_USER_INPUT", Some("message_exceed_max_chars")),
            (to_ben.clone(), "\u{1f600}".repeat(1025), "BAD_USER_INPUT", Some("message_exceed_max_chars")),
            (json!({ "handle": "" }), "hi".into(), "BAD_USER_INPUT", Some("handle_blank")),
            (json!({ "handle": "  " }), "hi".into(), "BAD_USER_INPUT", Some("handle_blank")),
            (json!({ "handle": "nobody-has-this" }), "hi".into(), "BAD_USER_INPUT", Some("recipient_not_found")),
            (json!({ "handle": "nul\u{0}" }), "hi".into(), "BAD_USER_INPUT", Some("recipient_not_found")),
            (
                json!({ "handle": ben.handle().to_uppercase() }),
                "hi".into(),
                "BAD_USER_INPUT",
                Some("recipient_not_found"),
            ),
            (json!({ "handle": ana.handle() }), "hi".into(), "BAD_USER_INPUT", Some("recipient_is_self")),
            (json!({ "messageGroupUuid": Uuid::new_v4() }), "hi".into(), "NOT_FOUND", None),
            (json!({ "messageGroupUuid": "nonsense" }), "hi".into(), "BAD_USER_INPUT", Some("request_invalid")),
            (json!({}), "hi".into(), "BAD_USER_INPUT", Some("request_invalid")),
            (
                json!({ "handle": ben.handle(), "messageGroupUuid": Uuid::new_v4() }),
                "hi".into(),
                "BAD_USER_INPUT",
                Some("request_invalid"),
            ),
        ];
        for (to, body, code, reason) in cases {
            let answer = client.execute(CREATE, json!({ "to": to, "body": body })).await;
            let expected = (code.to_owned(), reason.map(str::to_owned));
            assert_eq!(code_and_reason(&answer), expected, "{to} {body}: {answer}");
        }
        assert_eq!(writes(), before);
        let longest = "\u{1f600}".repeat(1024);
        let sent = client.send(to_ben, &longest).await;
        assert_eq!(sent["message"]["body"], longest.as_str());
    });
}

#[test]
fn an_error_after_a_stored_message_has_the_outcome_stored() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let send = |name: &str, handle: &str| {
            format!(
                "{name}: createMessage(input: {{ to: {{ handle: \"{handle}\" }}, body: \"{name}\" }}) {{ message {{ uuid }} }}"
            )
        };
        let (good, bad) = (send("good", ben.handle()), send("bad", "nobody at all"));
        for (document, outcome) in [
            (format!("mutation {{ {good} {bad} }}"), json!("STORED")),
            (format!("mutation {{ {bad} {good} }}"), Value::Null),
        ] {
            let answer = client.execute(&document, json!({})).await;
            assert_eq!(answer["errors"][0]["extensions"]["reason"], "recipient_not_found", "{answer}");
            assert_eq!(answer["errors"][0]["extensions"]["outcome"], outcome, "{answer}");
        }
        let groups = client.groups(1).await;
        assert_eq!(
            client.bodies(&groups[0]["uuid"]).await,
            ["good"],
            "fields after a failed mutation field are not executed"
        );
    });
}

#[test]
fn text_is_stored_unchanged() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let texts = [
            "  spaces around  ",
            "tab\tand\nlines\r\n",
            "\"quotes\" \\ and #hash",
            "e\u{301} \u{202e}rtl",
            "nul \u{0} inside",
        ];
        let mut group = Value::Null;
        for text in texts {
            group = client.send_to(&ben, text).await["messageGroup"]["uuid"].clone();
        }
        assert_eq!(client.bodies(&group).await, texts);
    });
}

#[test]
fn a_comment_in_a_type_condition_is_valid_after_a_mutation() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let document = format!(
            "mutation {{ createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"Hello\" }}) {{ \
             message {{ ... on # a comment\n Message {{ body }} }} }} }}",
            ben.handle()
        );
        let data = server.client(&ana).data(&document, json!({})).await;
        assert_eq!(data["createMessage"]["message"]["body"], "Hello", "{data}");
    });
}
