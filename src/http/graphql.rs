//! GraphQL over HTTP, as its specification says (graphql.github.io/graphql-over-http). [`respond`] is the way of a request
//! from its body to the response.
//!
//! The handlers of async-graphql-axum are not used: they execute mutations over GET, accept batches and multipart bodies, and
//! do not limit the body.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use tokio::time::timeout;

use super::api::Api;
use super::body::{RequestBody, is_encoded, is_json};
use super::negotiation::{Media, negotiate};
use super::parameters::{Parameters, read_body, read_url};
use super::refusal::Refusal;
use super::request_id::with_request_id;
use super::request_log::RequestLog;
use super::response;
use super::server::{Client, Peer};
use crate::auth::{TokenError, VerifiedToken};
use crate::graphql::{MessageOutcome, RequestContext, execute};
use crate::metrics::{self, Limit};
use crate::outcome::Outcome;

/// Responds to a request.
pub async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    with_request_id(request, async |request| {
        let mut log = RequestLog::start();
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        let (response, outcome) = match negotiate(&parts.headers) {
            None => refuse(Media::Json, Refusal::NotAcceptable),
            Some(media) => match respond(&api, &parts, &mut body, &mut log).await {
                Ok((executed, outcome)) => (response::executed(media, executed), outcome),
                Err(refusal) => refuse(media, refusal),
            },
        };
        body.discard_rest(&parts);
        log.finish(response.status(), outcome);
        response
    })
    .await
}

fn refuse(media: Media, refusal: Refusal) -> (Response, Outcome) {
    let outcome = Outcome::Failed(refusal.code());
    (response::refused(media, refusal), outcome)
}

/// Body, token, plan, permit, execution.
async fn respond(
    api: &Api,
    parts: &Parts,
    body: &mut RequestBody,
    log: &mut RequestLog,
) -> Result<(async_graphql::Response, Outcome), Refusal> {
    let (Parameters { document, operation_name, variables }, token) = receive(api, parts, body).await?;
    let operation = api.documents.find(&document, operation_name.as_deref())?;
    let is_query = operation.info.is_query;
    log.operation = Some(operation.info.clone());
    if parts.method == Method::GET && !is_query {
        return Err(Refusal::NotAQuery);
    }
    let plan = api.documents.plan(&operation, variables)?;
    // A request waits for nothing if all permits are taken: waiting would delay all other requests as well.
    let Ok(_permit) = api.permits.try_acquire() else {
        metrics::limit_reached(Limit::RequestsInFlight);
        return Err(Refusal::Overloaded);
    };
    let messaging = if is_query { api.messaging.for_query() } else { api.messaging.for_mutation() };
    let context = RequestContext::new(messaging, token, api.limits.response_bytes);
    let execution = execute(&api.schema, plan.0, &context);
    match timeout(api.limits.request_timeout(), execution).await {
        Ok(executed) => executed.map_err(Refusal::Engine),
        Err(_) if is_query => Err(Refusal::TimedOut { message: None }),
        Err(_) if context.has_stored_message() => Err(Refusal::TimedOut { message: Some(MessageOutcome::Stored) }),
        // A write that was given up can still have been done.
        Err(_) => Err(Refusal::TimedOut { message: Some(MessageOutcome::Unknown) }),
    }
}

/// Receives what a client sends. The client decides how long this takes, so a slow request can lose its place to others.
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
        Ok((parameters, authenticate(api, &parts.headers).await?))
    };
    tokio::select! {
        biased;
        received = received => received,
        () = lost.lost() => Err(Refusal::LostPlace),
    }
}

/// The verified token of a request, or `None` if the request has no token.
async fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Option<VerifiedToken>, TokenError> {
    match headers.get_all(AUTHORIZATION).iter().count() {
        0 => return Ok(None),
        1 => {}
        _ => return Err(TokenError::Header),
    }
    let Ok(Some(Authorization(bearer))) = headers.typed_try_get::<Authorization<Bearer>>() else {
        return Err(TokenError::Header);
    };
    match bearer.token().trim() {
        "" => Err(TokenError::Header),
        token => api.verifier.verify(token).await.map(Some),
    }
}
