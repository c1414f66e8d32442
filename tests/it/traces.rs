//! Traces as a collector receives them: spans of requests, of resolvers that do I/O, and of calls to stores, but none of plain
//! fields. They contain nothing confidential.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::client::CREATE;
use crate::harness::event_stream::EventStream;
use crate::harness::live::{FEED, ready};
use crate::harness::websocket::Socket;
use crate::harness::{eventually, test};
use crate::stopping::served_with;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[derive(Clone, Default)]
struct Collector {
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let collector = Self::default();
        let take = async |State(collector): State<Self>, body: Bytes| {
            collector.bodies.lock().expect("bodies").push(body);
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, collector)
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().expect("bodies");
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).expect("protobuf"));
        let scopes = requests.flat_map(|it| it.resource_spans).flat_map(|it| it.scope_spans);
        scopes.flat_map(|it| it.spans).collect()
    }

    fn has(&self, text: &str) -> bool {
        let bodies = self.bodies.lock().expect("bodies");
        bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn resolvers_that_do_io_have_a_span_and_plain_fields_have_none() {
    test(async {
        let (url, collector) = Collector::start().await;
        let mut served =
            served_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_BSP_SCHEDULE_DELAY", "100")]).await;
        let client = &served.client;
        let sent = json!({ "to": { "handle": served.ben.handle() }, "body": "the text of a message" });
        client.data(CREATE, sent).await;
        let query = "query Mine { messageGroups { nodes { uuid lastMessageAt lastMessage { uuid body createdAt
            author { handle } } participants { uuid handle displayName } } pageInfo { endCursor } } }";
        let request = client.post().header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
        let answer = request.json(&json!({ "query": query })).send().await.expect("a response");
        assert!(answer.status().is_success());
        let ours = eventually("the request's span", || async {
            let spans = collector.spans();
            let ours: Vec<_> = spans.into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
            // The span of the request ends last.
            ours.iter().any(|span| span.name == "POST /graphql").then_some(ours)
        })
        .await;
        let named =
            |name: &str| ours.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {ours:#?}"));
        let (request, resolver, call) = (named("POST /graphql"), named("Query.messageGroups"), named("DynamoDB.Query"));
        assert_eq!(hex(&request.parent_span_id), PARENT);
        assert_eq!(request.kind, 2, "a server's");
        assert_eq!(resolver.parent_span_id, request.span_id);
        assert_eq!(call.parent_span_id, resolver.span_id);
        let mut names: Vec<&str> = ours.iter().map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let stores = ["user_by_cognito_user_id", "users_by_uuid"];
        names.retain(|name| !stores.contains(name));
        assert_eq!(names, ["DynamoDB.Query", "POST /graphql", "Query.messageGroups"], "no span of a field");
        let operation = request.attributes.iter().find(|it| it.key == "graphql.operation.name");
        assert!(format!("{operation:?}").contains("Mine"), "{request:#?}");
        assert!(collector.spans().iter().any(|span| span.name == "Mutation.createMessage"));
        for secret in ["the text of a message", "eyJ", "tester@example.com"] {
            assert!(!collector.has(secret), "{secret} left the process");
        }
        served.process.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(0));
    });
}

#[test]
fn a_connection_and_each_operation_on_it_have_a_span_and_events_are_counted() {
    test(async {
        let (url, collector) = Collector::start().await;
        let served = served_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), ("OTEL_BSP_SCHEDULE_DELAY", "100")]).await;
        let mut stream = EventStream::start(&served.client, FEED, json!({})).await;
        ready(&stream.event().await);
        drop(stream);
        let address = served.client.url.trim_start_matches("http://").trim_end_matches("/graphql");
        let token = served.client.token.clone().expect("a token");
        let mut socket = Socket::acknowledged(address.parse().expect("an address"), &token).await;
        socket.subscribe("feed", FEED, json!({})).await;
        ready(&socket.next("feed").await["data"]["feed"]);
        drop(socket);
        let count = |span: &Span| {
            let events = span.attributes.iter().find(|it| it.key == "events");
            events.map(|events| format!("{events:?}").contains("IntValue(1)"))
        };
        for (name, events) in
            [("POST /graphql", Some(true)), ("WebSocket /graphql", Some(true)), ("WebSocket connection", None)]
        {
            eventually(name, || async {
                collector.spans().iter().any(|span| span.name == name && count(span) == events).then_some(())
            })
            .await;
        }
        let spans = collector.spans();
        let named = |name: &str| spans.iter().find(|span| span.name == name).expect("a span");
        assert_eq!(named("WebSocket /graphql").parent_span_id, named("WebSocket connection").span_id);
        assert!(!collector.has("eyJ"), "a token left the process");
    });
}

#[test]
fn a_client_that_is_not_trusted_cannot_name_the_trace() {
    test(async {
        let (url, collector) = Collector::start().await;
        let served = served_with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("TRUST_TRACEPARENT", "false"),
        ])
        .await;
        // Not sampled: a trusted client would decide that there are no spans.
        let request = served.client.post().header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
        let answer = request.json(&json!({ "query": "{ me { handle } }" })).send().await.expect("a response");
        assert!(answer.status().is_success());
        let span = eventually("the request's span", || async {
            collector.spans().into_iter().find(|span| span.name == "POST /graphql")
        })
        .await;
        assert_ne!(hex(&span.trace_id), TRACE);
        assert!(span.parent_span_id.is_empty(), "{span:#?}");
    });
}

#[test]
fn an_unreachable_collector_disturbs_neither_requests_nor_the_stop() {
    test(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.and_then(|it| it.local_addr()).expect("a port");
        let endpoint = format!("http://{nobody}");
        let mut served = served_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
        assert_eq!(served.client.data("{ me { handle } }", json!({})).await["me"]["handle"], served.ana.handle());
        served.process.signal("TERM");
        assert_eq!(tokio::task::block_in_place(|| served.process.wait()).code(), Some(0));
    });
}
