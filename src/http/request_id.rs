//! The id of a request, which the log and the response carry.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use tracing::Instrument;
use uuid::fmt::Hyphenated;

use crate::environment::random_uuid;
use crate::{shortened, telemetry};

/// The header of a response that has the id.
pub const REQUEST_ID: &str = "x-request-id";
/// Maximum number of characters of a path in the log.
const MAX_PATH_CHARS: usize = 200;

/// The name of a method in the log. A client can send any word as a method; unknown ones are logged as `HTTP`.
fn method_name(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::OPTIONS | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE => {
            method.as_str()
        }
        _ => "HTTP",
    }
}

/// Gives a request a new id, which the log and the response carry.
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
