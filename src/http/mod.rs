//! The HTTP surface: GraphQL, GraphiQL and health.

mod body;
mod graphiql;
mod graphql;
mod health;
mod negotiation;
mod parameters;
mod refusal;
mod request_log;
mod response;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get};
use tokio::sync::Semaphore;
use tower_http::cors::CorsLayer;
use tracing::Instrument;
use uuid::fmt::Hyphenated;

use crate::auth::Verifier;
use crate::config::HttpLimits;
use crate::documents::Documents;
use crate::environment::random_uuid;
use crate::graphql::MessagingSchema;
use crate::messages_table::MessagesTable;
use crate::messaging::Messaging;
use crate::stream::health::Health;
use crate::{metrics, shortened, telemetry};

/// What the handlers share.
pub struct Api {
    /// The schema.
    pub schema: MessagingSchema,
    /// Validates and plans documents.
    pub documents: Documents,
    /// Limits of a request.
    pub limits: HttpLimits,
    /// Origins whose pages may use the API from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// One permit for each concurrent request.
    pub permits: Semaphore,
    /// The rules.
    pub messaging: Arc<Messaging>,
    /// The table, for readiness.
    pub table: MessagesTable,
    /// Verifies access tokens.
    pub verifier: Arc<Verifier>,
    /// The stream consumer of this process, if it runs one.
    pub consumer: Option<Arc<Health>>,
    /// An access token that GraphiQL starts with, in `dev`.
    pub graphiql_token: Option<String>,
}

impl Api {
    /// Records how many permits and connections are in use.
    pub fn record_gauges(&self) {
        metrics::in_flight(self.limits.concurrent_requests.saturating_sub(self.permits.available_permits()));
        let pool = self.messaging.users().pool();
        metrics::connections(pool.size() as usize, pool.num_idle());
    }
}

/// The header that names a request in responses and in the log.
const REQUEST_ID: &str = "x-request-id";
/// The headers of W3C Trace Context, which a traced page sends.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Maximum number of characters of a path in the log.
const MAX_PATH_CHARS: usize = 200;
/// How long a browser may cache the response to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    let graphql = match api.cors_origins.as_slice() {
        [] => any(graphql::handle),
        origins => any(graphql::handle).layer(cors(origins)),
    };
    let with_id = async |request: Request, next: Next| with_request_id(request, async |it| next.run(it).await).await;
    Router::new()
        .route("/graphiql", get(graphiql::page))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .layer(middleware::from_fn(with_id))
        // This handler sets the request id itself: a layer costs each request an allocation and clones of services.
        .route("/graphql", graphql)
        .with_state(api)
}

/// Lets pages of the configured origins use the API. Credentials are not allowed: only the `Authorization` header
/// authenticates, and a browser does not send it by itself.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, TRACEPARENT, TRACESTATE])
        .expose_headers([HeaderName::from_static(REQUEST_ID), RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}

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
async fn with_request_id(request: Request, respond: impl AsyncFnOnce(Request) -> Response) -> Response {
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
