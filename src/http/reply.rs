//! Answers in GraphQL's form.

use async_graphql::{Response as GraphqlAnswer, ServerError};
use async_graphql_axum::GraphQLResponse;
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::negotiation::Media;
use super::told::Outcome;
use crate::auth::TokenError;
use crate::graphql::{Code, coded_error, mark_outcome_unknown};

/// An answer in the media type that the client chose. What is said depends on who asks, so no cache may keep it.
pub fn answer(media: Media, status: StatusCode, answer: GraphqlAnswer) -> Response {
    let outcome = outcome(&answer.errors);
    let mut response = GraphQLResponse::from(answer).into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tell(&mut response, outcome);
    response
}

fn outcome(errors: &[ServerError]) -> Option<Outcome> {
    let code = errors.first()?.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    Some(Outcome(match code {
        Some(async_graphql::Value::String(code)) => code.clone(),
        _ => Code::Internal.as_str().to_owned(),
    }))
}

fn tell(response: &mut Response, outcome: Option<Outcome>) {
    if let Some(outcome) = outcome {
        response.extensions_mut().insert(outcome);
    }
}

/// An answer to a request that is not executed.
pub fn refuse(media: Media, status: StatusCode, reason: &str, message: impl Into<String>) -> Response {
    errors(media, status, coded_error(Code::BadUserInput, Some(reason), message))
}

/// The answer to a method or to an operation that the method may not carry.
pub fn method_not_allowed(media: Media, allow: &'static str, message: &str) -> Response {
    let mut response = refuse(media, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The answer to a token that was not accepted: RFC 6750 section 3.
pub fn token_refused(media: Media, error: TokenError) -> Response {
    if error == TokenError::KeysUnavailable {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return errors(media, status, coded_error(Code::Unavailable, Some(error.reason()), error.to_string()));
    }
    let mut response = errors(
        media,
        StatusCode::UNAUTHORIZED,
        coded_error(Code::Unauthenticated, Some(error.reason()), error.to_string()),
    );
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The answer when all places are taken.
pub fn overloaded(media: Media) -> Response {
    let error =
        coded_error(Code::Unavailable, Some("overloaded"), "Too many requests are under way. Please try again.");
    let mut response = errors(media, StatusCode::SERVICE_UNAVAILABLE, error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The answer to a request that took too long. A mutation may have been done all the same.
pub fn timed_out(media: Media, may_be_done: bool) -> Response {
    let mut error = coded_error(Code::Unavailable, Some("request_timeout"), "The request took too long.");
    if may_be_done {
        mark_outcome_unknown(&mut error.extensions);
    }
    let mut response = errors(media, StatusCode::SERVICE_UNAVAILABLE, error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn errors(media: Media, status: StatusCode, error: ServerError) -> Response {
    errors_only(media, status, &[error])
}

/// An answer without `data`: the request was not executed.
pub fn errors_only(media: Media, status: StatusCode, errors: &[ServerError]) -> Response {
    let body = serde_json::json!({ "errors": errors }).to_string();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media.content_type())),
        (VARY, HeaderValue::from_name(ACCEPT)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (status, headers, body).into_response();
    tell(&mut response, outcome(errors));
    response
}
