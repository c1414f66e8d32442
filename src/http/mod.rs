//! The HTTP surface: GraphQL, GraphiQL and health.

mod body;
mod graphiql;
mod graphql;
mod health;
mod negotiation;
mod reply;
mod told;

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
use crate::config::limits::HttpLimits;
use crate::environment::random_uuid;
use crate::graphql::MessagingSchema;
use crate::graphql::documents::Documents;
use crate::messages_table::MessagesTable;
use crate::messaging::Messaging;
use crate::stream::health::Health;
use crate::{metrics, shortened, telemetry};

/// What the handlers share.
pub struct Api {
    /// The schema.
    pub schema: MessagingSchema,
    /// Its documents.
    pub documents: Documents,
    /// What a request may be.
    pub limits: HttpLimits,
    /// One for each request that may be under way.
    pub places: Semaphore,
    /// The rules.
    pub messaging: Arc<Messaging>,
    /// The table, for readiness.
    pub table: MessagesTable,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// The stream consumer of this process, if it runs one.
    pub consumer: Option<Arc<Health>>,
    /// A token that GraphiQL starts with, in `dev`.
    pub graphiql_token: Option<String>,
}

impl Api {
    /// Shows the metrics how many places and connections are taken.
    pub fn show(&self) {
        metrics::in_flight(self.limits.concurrent_requests.saturating_sub(self.places.available_permits()));
        let pool = self.messaging.users().pool();
        metrics::connections(pool.size() as usize, pool.num_idle());
    }
}

/// The header that names a request in answers and in the log.
const REQUEST_ID: &str = "x-request-id";
/// The headers of W3C Trace Context, which a traced page sends.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// What the log shows of a path.
const LONGEST_PATH: usize = 200;
/// How long a browser may remember what it is allowed.
const PREFLIGHT_GOOD_FOR: Duration = Duration::from_secs(3600);

/// The routes.
pub fn router(api: Arc<Api>) -> Router {
    let graphql = match api.limits.cors_origins.as_slice() {
        [] => any(graphql::handle),
        origins => any(graphql::handle).layer(cors(origins)),
    };
    let with_id = async |request: Request, next: Next| with_request_id(request, async |it| next.run(it).await).await;
    Router::new()
        .route("/graphiql", get(graphiql::page))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .layer(middleware::from_fn(with_id))
        // Gives the ids itself: a layer costs each request another box and clones of services.
        .route("/graphql", graphql)
        .with_state(api)
}

/// Lets pages of the configured origins use the API, and no others. Nothing that a browser sends by itself signs anybody
/// in, so there are no credentials to let through.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, TRACEPARENT, TRACESTATE])
        .expose_headers([HeaderName::from_static(REQUEST_ID), RETRY_AFTER])
        .max_age(PREFLIGHT_GOOD_FOR)
}

/// A method's name; any word can be one, and those that nobody uses are not told apart.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET | Method::POST | Method::OPTIONS | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE => {
            method.as_str()
        }
        _ => "HTTP",
    }
}

/// Gives a request an id of ours, which the log and the answer carry.
async fn with_request_id(request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let mut text = [0; Hyphenated::LENGTH];
    let id: &str = random_uuid().hyphenated().encode_lower(&mut text);
    let (method, path) = (known(request.method()), shortened(request.uri().path(), LONGEST_PATH));
    let later = tracing::field::Empty;
    let span = tracing::info_span!("request", id, method, path, otel.kind = later, otel.name = later);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    telemetry::begin_request(&span, request.headers(), method, route);
    let mut response = answer(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
