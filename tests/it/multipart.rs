//! Apollo's multipart subscriptions over HTTP, as Apollo Client 4 reads them. Sources: the page "multipart protocol" in the
//! documentation of GraphOS, and `link/http/parseAndCheckHttpResponse.js` of the client.

use serde_json::{Value, json};

use crate::harness::client::code_and_reason;
use crate::harness::event_stream::Multipart;
use crate::harness::live::{FEED, delete_user, ready, token_expiring_in};
use crate::harness::{Client, Pair, World, test, user};

/// What Apollo Client 4 sends for a subscription.
pub const APOLLO: &str =
    "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9";

/// The code and the reason of the error with which a stream ends. Apollo's `RetryLink` connects again after such an error.
async fn end(stream: &mut Multipart) -> (String, Option<String>) {
    let part = stream.part().await.expect("a further part");
    assert_eq!(part.get("payload"), Some(&Value::Null), "{part}");
    assert!(part["errors"][0]["message"].is_string(), "{part}");
    stream.ended().await;
    code_and_reason(&part)
}

#[test]
fn each_event_is_a_part_that_is_complete_at_once() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, of_ana, of_ben, .. } = &pair;
        let request = of_ana.post().header("accept", APOLLO).json(&json!({ "query": FEED }));
        let mut stream = Multipart::open(request).await;
        ready(&stream.event().await);
        // The client reads a part when the delimiter after it arrives, so the delimiter must not wait for the next part.
        assert_eq!(stream.unread(), "");
        for body in ["one", "two --graphql\r\n--graphql--\r\n"] {
            of_ben.send_to(ana, body).await;
            assert_eq!(stream.event().await["message"]["body"], body);
            assert_eq!(stream.unread(), "");
        }
    });
}

#[test]
fn a_stream_continues_after_a_cursor() {
    test(async {
        let pair = Pair::new().await;
        let Pair { ana, of_ana, of_ben, .. } = &pair;
        let mut stream = Multipart::start(of_ana, FEED, json!({})).await;
        ready(&stream.event().await);
        of_ben.send_to(ana, "one").await;
        let cursor = stream.event().await["cursor"].clone();
        drop(stream);
        of_ben.send_to(ana, "two").await;
        of_ana.next_events(&cursor, 1).await;
        let mut stream = Multipart::start(of_ana, FEED, json!({ "after": cursor })).await;
        assert_eq!(stream.event().await["message"]["body"], "two");
        ready(&stream.event().await);
    });
}

#[test]
fn what_has_one_result_has_one_part() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let mut stream = Multipart::start(&client, "{ __typename }", json!({})).await;
        assert_eq!(stream.part().await, Some(json!({ "payload": { "data": { "__typename": "Query" } } })));
        stream.ended().await;
        let cursor_invalid = ("BAD_USER_INPUT".to_owned(), Some("cursor_invalid".to_owned()));
        let token_missing = ("UNAUTHENTICATED".to_owned(), Some("token_missing".to_owned()));
        for (client, after, expected) in
            [(&client, json!("nonsense"), cursor_invalid), (&server.anonymous(), Value::Null, token_missing)]
        {
            let mut stream = Multipart::start(client, FEED, json!({ "after": after })).await;
            let part = stream.part().await.expect("a part");
            assert_eq!(part, json!({ "payload": { "errors": part["payload"]["errors"] } }));
            assert_eq!(code_and_reason(&part["payload"]), expected);
            stream.ended().await;
        }
    });
}

#[test]
fn a_stream_ends_with_an_error_when_its_token_expires() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = Client::new(server.address, Some(token_expiring_in(&user("ana").await, 5).await));
        let mut stream = Multipart::start(&client, FEED, json!({})).await;
        ready(&stream.event().await);
        assert_eq!(end(&mut stream).await, ("UNAUTHENTICATED".to_owned(), Some("token_expired".to_owned())));
    });
}

#[test]
fn a_stream_ends_with_an_error_when_its_user_is_deleted() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let mut stream = Multipart::start(&server.client(&ana), FEED, json!({})).await;
        ready(&stream.event().await);
        delete_user(&ana).await;
        // Heartbeats arrive in the meantime.
        assert_eq!(end(&mut stream).await.0, "UNAUTHENTICATED");
    });
}

#[test]
fn a_stream_ends_with_an_error_at_shutdown() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let mut stream = Multipart::start(&server.client(&user("ana").await), FEED, json!({})).await;
        ready(&stream.event().await);
        let (finished, (code, _)) = tokio::join!(server.shutdown.finish(), end(&mut stream));
        assert!(finished, "the stream delays the end of the process");
        assert_eq!(code, "UNAVAILABLE");
    });
}
