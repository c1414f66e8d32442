//! Delivers a subscription in the response to a request: as server-sent events or in Apollo's multipart protocol.
//!
//! Sources: graphql-sse, PROTOCOL.md, "Distinct connections mode"; the HTML standard, section "Server-sent events"; Apollo,
//! "Multipart HTTP protocol for GraphQL subscriptions".

use std::sync::Arc;
use std::time::Duration;

use async_graphql::ServerError;
use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span};

use super::api::Api;
use super::lifetime::{End, Lifetime};
use super::negotiation::StreamMedia;
use super::refusal::Refusal;
use super::request_log::RequestLog;
use super::server::LongLived;
use super::subscription::{Interrupted, Subscription};
use crate::auth::{TokenError, VerifiedToken};
use crate::outcome::{Code, Outcome};

/// Header in which a client of server-sent events that connects again sends the cursor of its last event.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Time without an event after which the server sends a comment or an empty part, so that load balancers do not close the
/// connection. Shorter than their idle timeouts.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Header that prevents proxies such as nginx from buffering the response.
const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// A subscription and the lifetime of the connection that delivers it.
pub struct OpenSubscription {
    subscription: Subscription,
    lifetime: Lifetime,
}

impl OpenSubscription {
    /// Counts the event stream as a connection of the user. Returns a refusal if the user has too many connections.
    pub fn new(api: &Arc<Api>, subscription: Subscription, token: Option<VerifiedToken>) -> Result<Self, Refusal> {
        // Never missing, because a subscription starts only with a token.
        let token = token.ok_or(Refusal::Token(TokenError::Header))?;
        let lifetime = Lifetime::start(api, subscription.user.uuid, token)?;
        Ok(Self { subscription, lifetime })
    }
}

/// Returns a response that delivers one result and ends.
pub fn once(media: StreamMedia, executed: &impl Serialize) -> Response {
    let mut body = media.start().to_vec();
    body.extend(media.event(None, executed));
    body.extend(media.complete());
    respond(media, Body::from(body))
}

/// Returns a response that delivers the errors of an operation that was not executed.
pub fn not_executed(media: StreamMedia, errors: &[ServerError]) -> Response {
    once(media, &json!({ "errors": errors }))
}

/// Returns a response that delivers the events of a subscription until its lifetime ends.
pub fn open(media: StreamMedia, open: OpenSubscription, mut log: RequestLog) -> Response {
    log.subscribed();
    let OpenSubscription { subscription, lifetime } = open;
    let keep_alive_at = Instant::now() + KEEP_ALIVE;
    let stream = EventStream { media, subscription, lifetime, log, keep_alive_at, has_begun: false };
    let span = Span::current();
    let frames = unfold(Some(Box::new(stream)), move |stream| {
        let next = async { Some(stream?.next_frame().await) };
        next.instrument(span.clone())
    });
    let mut response = respond(media, Body::from_stream(frames));
    response.extensions_mut().insert(LongLived);
    response
}

fn respond(media: StreamMedia, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.extend([NO_BUFFERING]);
    response
}

/// The state of a response that is a stream.
struct EventStream {
    media: StreamMedia,
    subscription: Subscription,
    lifetime: Lifetime,
    log: RequestLog,
    keep_alive_at: Instant,
    has_begun: bool,
}

type Frame = Result<Bytes, std::convert::Infallible>;

impl EventStream {
    /// Returns the next bytes of the body, and the stream, or `None` instead of it if these bytes are the last ones.
    async fn next_frame(mut self: Box<Self>) -> (Frame, Option<Box<Self>>) {
        if !self.has_begun {
            // Sent before the first event, so that the client knows that the subscription has started.
            self.has_begun = true;
            return (Ok(Bytes::from_static(self.media.start())), Some(self));
        }
        let event = tokio::select! {
            // In this order, so that no event follows the end of the lifetime.
            biased;
            end = self.lifetime.ended() => return self.end(end),
            event = self.subscription.next() => event,
            () = sleep_until(self.keep_alive_at) => {
                self.keep_alive_at = Instant::now() + KEEP_ALIVE;
                return (Ok(Bytes::from_static(self.media.keep_alive())), Some(self));
            }
        };
        let cursor = event.cursor();
        // Boxed, so that a stream that waits takes little memory.
        let executed = Box::pin(self.subscription.execute(event)).await;
        match executed {
            Ok(result) => {
                self.log.delivered();
                self.keep_alive_at = Instant::now() + KEEP_ALIVE;
                (Ok(self.media.event(cursor.as_deref(), &result).into()), Some(self))
            }
            Err(Interrupted(errors)) => self.interrupt(Outcome::Failed(Code::Unavailable), &json!(errors.first())),
        }
    }

    /// Ends the stream because its lifetime has ended.
    fn end(self: Box<Self>, end: End) -> (Frame, Option<Box<Self>>) {
        let (code, reason, message) = match end {
            End::TokenExpired => (Code::Unauthenticated, "token_expired", "The access token has expired."),
            End::UserDeleted => (Code::Unauthenticated, "user_unknown", "No user belongs to the access token."),
            End::Stopping => (Code::Unavailable, "server_stopping", "The server stops. Subscribe again."),
        };
        let extensions = json!({ "code": code.as_str(), "reason": reason });
        let outcome = if end == End::Stopping { Outcome::Ok } else { Outcome::Failed(code) };
        self.interrupt(outcome, &json!({ "message": message, "extensions": extensions }))
    }

    /// Ends the stream without completing the subscription, so that the client subscribes again.
    fn interrupt(self: Box<Self>, outcome: Outcome, error: &Value) -> (Frame, Option<Box<Self>>) {
        self.log.end(outcome);
        (Ok(self.media.interrupted(error)), None)
    }
}

impl StreamMedia {
    fn content_type(self) -> &'static str {
        match self {
            Self::EventStream => "text/event-stream; charset=utf-8",
            Self::Multipart => "multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\"",
        }
    }

    /// The first bytes of a body.
    fn start(self) -> &'static [u8] {
        match self {
            Self::EventStream => b":\n\n",
            Self::Multipart => b"\r\n--graphql",
        }
    }

    fn keep_alive(self) -> &'static [u8] {
        match self {
            Self::EventStream => b":\n\n",
            Self::Multipart => b"\r\ncontent-type: application/json\r\n\r\n{}\r\n--graphql",
        }
    }

    /// The bytes of a result. The JSON text has no line breaks, so it fits into one `data` line.
    fn event(self, cursor: Option<&str>, executed: &impl Serialize) -> Vec<u8> {
        // This never fails: a response has only values that JSON can represent, and its keys are strings.
        let result = serde_json::to_string(executed).unwrap_or_default();
        match (self, cursor) {
            (Self::EventStream, None) => format!("event: next\ndata: {result}\n\n").into_bytes(),
            (Self::EventStream, Some(id)) => format!("id: {id}\nevent: next\ndata: {result}\n\n").into_bytes(),
            (Self::Multipart, _) => part(&format!("{{\"payload\":{result}}}")),
        }
    }

    /// The bytes after the last result.
    fn complete(self) -> &'static [u8] {
        match self {
            Self::EventStream => b"event: complete\ndata:\n\n",
            Self::Multipart => b"--\r\n",
        }
    }

    /// The bytes at the end of a stream whose subscription is not complete. An event stream ends without further bytes. In the
    /// multipart protocol an error is sent, because Apollo's client subscribes again only after an error.
    fn interrupted(self, error: &Value) -> Bytes {
        match self {
            Self::EventStream => Bytes::new(),
            Self::Multipart => {
                let mut last = part(&json!({ "payload": null, "errors": [error] }).to_string());
                last.extend(self.complete());
                last.into()
            }
        }
    }
}

/// Returns a part of a multipart body and the boundary after it. The next part, or the end of the body, continues this
/// boundary.
fn part(json: &str) -> Vec<u8> {
    format!("\r\ncontent-type: application/json\r\n\r\n{json}\r\n--graphql").into_bytes()
}
