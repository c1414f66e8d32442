//! Which clients get a stream: the `Accept` header, the method, and requests that are rejected before they are executed.

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::code_and_reason;
use crate::harness::event_stream::{EventStream, Multipart};
use crate::harness::live::FEED;
use crate::harness::{Client, Server, TestUser, World, shared, test, user};
use crate::multipart::APOLLO;

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed";
const TYPENAME: &str = "{ __typename }";
/// What urql 6 sends for a query and for a subscription. Earlier versions send the first one for both.
const URQL: &str =
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed";
const URQL_SUBSCRIPTION: &str = "text/event-stream, multipart/mixed";

struct Negotiation {
    _world: World,
    server: Server,
    ana: TestUser,
}

/// A response: its status, its media type without parameters, and the rest of it.
struct Answer {
    status: u16,
    media: String,
    response: reqwest::Response,
}

impl Answer {
    /// Code and reason of the only error. The response is not a stream.
    async fn error(self) -> (u16, String, Option<String>) {
        assert_eq!(self.media, JSON);
        let body: Value = self.response.json().await.expect("JSON");
        assert_eq!(body.get("data"), None);
        let (code, reason) = code_and_reason(&body);
        (self.status, code, reason)
    }
}

impl Negotiation {
    async fn new() -> Self {
        let world = World::new().await;
        // A stream that the client has dropped counts until the server notices it.
        let server = world.server_where(|parts| parts.requests.live.sockets_per_user = 1_000).await;
        Self { _world: world, server, ana: user("ana").await }
    }

    fn client(&self) -> Client {
        self.server.client(&self.ana)
    }

    /// Sends a request with this `Accept` header.
    async fn answer(&self, request: RequestBuilder, accept: Option<&str>) -> Answer {
        let request = match accept {
            Some(accept) => request.header("accept", accept),
            None => request,
        };
        let response = request.send().await.expect("a response");
        let media = response.headers()["content-type"].to_str().expect("text");
        let media = media.split(';').next().unwrap_or_default().to_owned();
        Answer { status: response.status().as_u16(), media, response }
    }

    async fn post(&self, accept: Option<&str>, query: &str) -> Answer {
        self.answer(self.client().post().json(&json!({ "query": query })), accept).await
    }

    async fn get(&self, accept: Option<&str>, query: &str) -> Answer {
        let url = reqwest::Url::parse_with_params(&self.client().url, [("query", query)]).expect("a URL");
        self.answer(self.client().http.get(url).bearer_auth(&self.ana.token), accept).await
    }
}

fn not_acceptable() -> (u16, String, Option<String>) {
    (406, "BAD_USER_INPUT".to_owned(), Some("not_acceptable".to_owned()))
}

#[test]
fn a_subscription_needs_an_accept_header_that_names_a_stream() {
    test(async {
        let it = Negotiation::new().await;
        for accept in [
            None,
            Some("*/*"),
            Some(JSON),
            Some(GRAPHQL),
            Some("application/graphql-response+json, application/json;q=0.9"),
            Some("text/event-stream;q=0, multipart/mixed;q=0, */*"),
        ] {
            for answer in [it.post(accept, FEED).await, it.get(accept, FEED).await] {
                assert_eq!(answer.status, 406, "{accept:?}");
                assert!([JSON, GRAPHQL].contains(&answer.media.as_str()), "{accept:?}: {}", answer.media);
                let body: Value = answer.response.json().await.expect("JSON");
                assert_eq!(code_and_reason(&body), ("BAD_USER_INPUT".to_owned(), Some("not_acceptable".to_owned())));
                let message = body["errors"][0]["message"].as_str().expect("a message");
                for name in [EVENTS, MULTIPART, "WebSocket"] {
                    assert!(message.contains(name), "{message}");
                }
            }
        }
        assert_eq!(it.post(Some("text/html"), FEED).await.error().await, not_acceptable());
        assert_eq!(it.post(Some("text/html"), TYPENAME).await.error().await, not_acceptable());
    });
}

#[test]
fn the_accept_header_decides_the_media_type() {
    test(async {
        let it = Negotiation::new().await;
        for (accept, of_query, of_subscription) in [
            (URQL, GRAPHQL, EVENTS),
            (URQL_SUBSCRIPTION, EVENTS, EVENTS),
            (APOLLO, GRAPHQL, MULTIPART),
            (EVENTS, EVENTS, EVENTS),
            ("TEXT/Event-Stream; charset=utf-8", EVENTS, EVENTS),
            (MULTIPART, MULTIPART, MULTIPART),
            ("multipart/mixed, text/event-stream", EVENTS, EVENTS),
            ("text/event-stream;q=0.5, multipart/mixed", MULTIPART, MULTIPART),
            ("multipart/mixed;q=0.5, text/event-stream;q=0.8", EVENTS, EVENTS),
            ("text/event-stream;q=0, multipart/mixed;q=0.1", MULTIPART, MULTIPART),
            ("text/event-stream, application/json;q=0.1", JSON, EVENTS),
            ("text/event-stream, */*;q=0.1", JSON, EVENTS),
            ("*/*, multipart/mixed;q=0.1", JSON, MULTIPART),
        ] {
            for (query, media) in [(TYPENAME, of_query), (FEED, of_subscription)] {
                for answer in [it.post(Some(accept), query).await, it.get(Some(accept), query).await] {
                    assert_eq!((answer.status, answer.media.as_str()), (200, media), "{accept}: {query}");
                    // A cache must not give the response to a client that accepts something else.
                    assert_eq!(answer.response.headers()["vary"], "accept", "{accept}: {query}");
                }
            }
        }
    });
}

/// A client that accepts only streams receives the errors of GraphQL as the only result (graphql-sse, PROTOCOL.md).
async fn expect_request_error(it: &Negotiation, accept: &str, body: &Value) {
    let request = it.client().post().json(body).header("accept", accept);
    let result = match accept {
        MULTIPART => {
            let mut stream = Multipart::open(request).await;
            let part = stream.part().await.expect("a part");
            stream.ended().await;
            part["payload"].clone()
        }
        _ => {
            let mut stream = EventStream::open(request).await;
            let result = stream.next().await;
            stream.completed().await;
            result
        }
    };
    assert_eq!(result.get("data"), None, "{accept}: {body}");
    assert_eq!(result["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{accept}: {result}");
}

#[test]
fn errors_of_graphql_are_streamed_and_other_rejections_have_their_status() {
    test(async {
        let it = Negotiation::new().await;
        let bad = |reason: &str| (400, "BAD_USER_INPUT".to_owned(), Some(reason.to_owned()));
        for accept in [EVENTS, MULTIPART, URQL_SUBSCRIPTION] {
            for query in [
                "subscription { feed { cursor }",
                "subscription { nothing }",
                "subscription { feed { cursor } activity { __typename } }",
                "{ nothing }",
            ] {
                expect_request_error(&it, accept, &json!({ "query": query })).await;
            }
            expect_request_error(&it, accept, &json!({ "query": FEED, "variables": { "after": 7 } })).await;
            let post = || it.client().post();
            let answer = it.answer(post().json(&json!([])), Some(accept)).await;
            assert_eq!(answer.error().await, bad("parameters_invalid"));
            let answer = it.answer(post().body(FEED), Some(accept)).await;
            let not_json = (415, "BAD_USER_INPUT".to_owned(), Some("not_json".to_owned()));
            assert_eq!(answer.error().await, not_json);
        }
        // A client that also accepts GraphQL's JSON gets it.
        for accept in [URQL, APOLLO] {
            let answer = it.post(Some(accept), "subscription { nothing }").await;
            assert_eq!((answer.status, answer.media.as_str()), (400, GRAPHQL), "{accept}");
        }
    });
}

#[test]
fn a_token_that_is_rejected_has_its_status() {
    test(async {
        let it = Negotiation::new().await;
        let client = Client::new(it.server.address, Some("nonsense".to_owned()));
        for accept in [EVENTS, MULTIPART] {
            let answer = it.answer(client.post().json(&json!({ "query": FEED })), Some(accept)).await;
            assert!(answer.response.headers().contains_key("www-authenticate"));
            let expected = (401, "UNAUTHENTICATED".to_owned(), Some("token_malformed".to_owned()));
            assert_eq!(answer.error().await, expected);
        }
        // The token of a user that does not exist is valid, but no feed belongs to it.
        let unknown = shared().await.issuer.token(&Uuid::new_v4().to_string()).expect("a token");
        let client = Client::new(it.server.address, Some(unknown));
        let mut stream = EventStream::start(&client, FEED, json!({})).await;
        let result = stream.next().await;
        assert_eq!(code_and_reason(&result), ("UNAUTHENTICATED".to_owned(), Some("user_unknown".to_owned())));
        stream.completed().await;
    });
}

#[test]
fn a_mutation_over_get_is_not_allowed_whatever_the_client_accepts() {
    test(async {
        let it = Negotiation::new().await;
        let mutation = "mutation { createMessage(input: { to: { handle: \"x\" }, body: \"x\" }) { message { uuid } } }";
        for accept in [EVENTS, MULTIPART] {
            let answer = it.get(Some(accept), mutation).await;
            assert_eq!(answer.response.headers()["allow"], "POST");
            let expected = (405, "BAD_USER_INPUT".to_owned(), Some("method_not_allowed".to_owned()));
            assert_eq!(answer.error().await, expected);
        }
    });
}
