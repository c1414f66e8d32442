//! The id of a request, which is in the log and in the response.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use tracing::Instrument;
use uuid::fmt::Hyphenated;

use crate::environment::random_uuid;
use crate::{shortened, telemetry};

/// Header of the response with the id of the request.
pub const REQUEST_ID: &str = "x-request-id";
/// Maximum number of characters of a path in the log.
const MAX_PATH_CHARS: usize = 200;

/// Returns the name of a method for the log. A client can send any word as method, so unknown ones become `HTTP`.
fn method_name(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::OPTIONS | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE => {
            method.as_str()
        }
        _ => "HTTP",
    }
}

/// Calls `respond` within a span that has a new id for the request, and adds the id to the response.
pub async fn with_request_id(request: Request, respond: impl AsyncFnOnce(Request) -> Response) -> Response {
    let mut text = [0; Hyphenated::LENGTH];
    let id: &str = random_uuid().hyphenated().encode_lower(&mut text);
    let (method, path) = (method_name(request.method()), shortened(request.uri().path(), MAX_PATH_CHARS));
    let later = tracing::field::Empty;
    let span = tracing::info_span!("request", id, method, path, otel.kind = later, otel.name = later);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    telemetry::begin_request(&span, request.headers(), method, route);
    let mut response = respond(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
