//! GraphQL over HTTP, as its specification says (graphql.github.io/graphql-over-http). [`respond`] shows the steps from the
//! body of a request to its result.
//!
//! The handlers of async-graphql-axum are not used: they execute mutations over GET, accept batches and multipart bodies, and
//! do not limit the body.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_graphql::ServerError;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;

use super::api::Api;
use super::authentication::of_headers;
use super::body::{RequestBody, is_encoded, is_json};
use super::event_stream::{self, LAST_EVENT_ID, OpenSubscription};
use super::execution;
use super::negotiation::{Accepted, Media, StreamMedia, negotiate};
use super::parameters::{Parameters, read_body, read_url};
use super::refusal::Refusal;
use super::request_id::with_request_id;
use super::request_log::RequestLog;
use super::response;
use super::server::{Client, Peer};
use super::subscription::{NotStarted, Subscription};
use super::websocket;
use crate::auth::VerifiedToken;
use crate::documents::OperationType;
use crate::outcome::Outcome;

/// Responds to a request for the path `/graphql`.
pub async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    with_request_id(request, async |request| {
        if websocket::is_requested(request.headers()) {
            return websocket::open(api, request);
        }
        let mut log = RequestLog::start();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        let accepted = negotiate(&parts.headers);
        let answer = match accepted {
            None => Err(Refusal::NotAcceptable),
            Some(accepted) => respond(&api, &parts, &mut body, &mut log, accepted).await,
        };
        body.discard_rest(&parts, answer.is_err());
        let Accepted { once, stream } = accepted.unwrap_or(Accepted { once: Some(Media::Json), stream: None });
        let (response, outcome) = match (answer, once, stream) {
            (Ok(Answer::Stream(media, subscription)), ..) => return event_stream::open(media, subscription, log),
            (Ok(Answer::Once(executed, outcome)), None, Some(media)) => (event_stream::once(media, &executed), outcome),
            (Ok(Answer::Once(executed, outcome)), ..) => {
                (response::executed(once.unwrap_or(Media::Json), executed), outcome)
            }
            (Ok(Answer::NotStarted(media, errors, outcome)), ..) => {
                (event_stream::not_executed(media, &errors), outcome)
            }
            (Err(refusal), None, Some(media)) if refusal.is_graphql_request_error() => {
                let outcome = Outcome::Failed(refusal.code());
                (event_stream::not_executed(media, &refusal.errors()), outcome)
            }
            (Err(refusal), ..) => {
                let outcome = Outcome::Failed(refusal.code());
                (response::refused(once, refusal), outcome)
            }
        };
        log.finish(response.status(), outcome);
        response
    })
    .await
}

/// The result of a request that was not rejected.
enum Answer {
    /// One result.
    Once(async_graphql::Response, Outcome),
    /// A subscription has started.
    Stream(StreamMedia, OpenSubscription),
    /// A subscription has not started, because its execution failed.
    NotStarted(StreamMedia, Vec<ServerError>, Outcome),
}

/// Receives a request, plans its operation, and executes a query or mutation or starts a subscription.
async fn respond(
    api: &Arc<Api>,
    parts: &Parts,
    body: &mut RequestBody,
    log: &mut RequestLog,
    accepted: Accepted,
) -> Result<Answer, Refusal> {
    let (Parameters { document, operation_name, variables }, token) = receive(api, parts, body).await?;
    let operation = api.documents.find(&document, operation_name.as_deref())?;
    let kind = operation.info.kind;
    log.operation = Some(operation.info.clone());
    if parts.method == Method::GET && kind == OperationType::Mutation {
        return Err(Refusal::NotAQuery);
    }
    let plan = api.documents.plan(&operation, variables)?;
    if kind != OperationType::Subscription {
        let (response, outcome) = execution::execute(api, kind, plan, token).await?;
        return Ok(Answer::Once(response, outcome));
    }
    let media = accepted.stream.ok_or(Refusal::NotAStream)?;
    let last_event_id = parts.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    // Some clients send the header without a value.
    let last_event_id = last_event_id.filter(|id| !id.is_empty()).map(str::to_owned);
    match Subscription::start(api, plan, token.clone(), last_event_id).await {
        Ok(subscription) => Ok(Answer::Stream(media, OpenSubscription::new(api, subscription, token)?)),
        Err(NotStarted::Refused(refusal)) => Err(refusal),
        Err(NotStarted::Failed(errors, outcome)) => Ok(Answer::NotStarted(media, errors, outcome)),
    }
}

/// Receives the parameters and the token of a request. The client controls how long this takes, so a slow request can lose
/// its place in [`Receiving`](super::Receiving) to another request.
async fn receive(
    api: &Api,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<(Parameters, Option<VerifiedToken>), Refusal> {
    let client = parts.extensions.get::<Client>();
    let address = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.address);
    let (place, lost) = api.receiving.enter(Peer::of(address));
    let received = async {
        let parameters = match parts.method {
            Method::GET => read_url(parts.uri.query().unwrap_or_default())?,
            Method::POST if !is_json(&parts.headers) => return Err(Refusal::NotJson),
            Method::POST if is_encoded(&parts.headers) => return Err(Refusal::Encoded),
            Method::POST => read_body(&body.read(api.limits.body_bytes, &place).await?)?,
            _ => return Err(Refusal::Method),
        };
        Ok((parameters, of_headers(api, &parts.headers).await?))
    };
    tokio::select! {
        biased;
        received = received => received,
        () = lost.lost() => Err(Refusal::LostPlace),
    }
}
