//! Builds HTTP responses in the format of GraphQL over HTTP.

use async_graphql::Response as GraphqlResponse;
use async_graphql_axum::GraphQLResponse;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::body::IDENTITY;
use super::negotiation::Media;
use super::refusal::Refusal;
use crate::auth::TokenError;

/// Returns the response to an executed request.
pub fn executed(media: Media, response: GraphqlResponse) -> Response {
    with_headers(GraphQLResponse::from(response).into_response(), media, None)
}

/// Returns the response to a rejected request. It has no `data`. Without `media`, as for a client that accepts only streams or
/// opens a WebSocket, it is JSON with the status of the refusal.
pub fn refused(media: Option<Media>, refusal: Refusal) -> Response {
    let status = match media {
        // GraphQL over HTTP, section "application/json": a well-formed request that GraphQL rejects gets 200.
        Some(Media::Json) if refusal.is_graphql_request_error() => StatusCode::OK,
        _ => refusal.status(),
    };
    let header = refusal_header(&refusal);
    let body = serde_json::json!({ "errors": refusal.errors() }).to_string();
    with_headers((status, body).into_response(), media.unwrap_or(Media::Json), header)
}

fn with_headers(mut response: Response, media: Media, header: Option<(HeaderName, HeaderValue)>) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT));
    // No cache may store a response, because it depends on the user.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some((name, value)) = header {
        headers.insert(name, value);
    }
    response
}

/// The header that belongs to the status of a refusal.
fn refusal_header(refusal: &Refusal) -> Option<(HeaderName, HeaderValue)> {
    let constant = |name, value| Some((name, HeaderValue::from_static(value)));
    match refusal {
        Refusal::Method => constant(ALLOW, "GET, POST"),
        Refusal::NotAQuery => constant(ALLOW, "POST"),
        Refusal::Encoded => constant(ACCEPT_ENCODING, IDENTITY),
        Refusal::Overloaded | Refusal::LostPlace | Refusal::TimedOut { .. } => constant(RETRY_AFTER, "1"),
        Refusal::Token(TokenError::KeysUnavailable) => None,
        // RFC 6750, section 3.
        Refusal::Token(error) => {
            let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
            HeaderValue::from_str(&challenge).ok().map(|challenge| (WWW_AUTHENTICATE, challenge))
        }
        _ => None,
    }
}
