//! Serves HTTP: GraphQL, GraphiQL, the web client, health and metrics.

mod api;
mod assets;
mod authentication;
mod body;
mod event_stream;
mod execution;
mod graphiql;
mod graphql;
mod health;
mod lifetime;
mod metrics;
mod negotiation;
mod parameters;
mod readiness;
mod receiving;
mod refusal;
mod request_id;
mod request_log;
mod response;
mod server;
mod subscription;
pub(crate) mod this_machine;
mod web;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::routing::{any, get};
use tower_http::cors::CorsLayer;

pub use self::api::Api;
use self::event_stream::LAST_EVENT_ID;
pub use self::metrics::serve_metrics;
pub use self::readiness::Readiness;
pub use self::receiving::Receiving;
use self::request_id::{REQUEST_ID, with_request_id};
pub use self::server::{Connections, affordable, serve};

/// The headers of W3C Trace Context. A page that records traces sends them.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// How long a browser may cache the response to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

/// Returns the routes of the API.
pub fn router(api: Arc<Api>) -> Router {
    let graphql = match api.cors_origins.as_slice() {
        [] => any(graphql::handle),
        origins => any(graphql::handle).layer(cors(origins)),
    };
    let with_id = async |request: Request, next: Next| with_request_id(request, async |it| next.run(it).await).await;
    Router::new()
        .route("/graphiql", get(graphiql::page))
        .route("/graphiql/{name}", get(graphiql::file))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .fallback(web::respond)
        .layer(middleware::from_fn(with_id))
        // Added after the layer, because this handler sets the request id itself: a layer costs each request an allocation
        // and clones of services.
        .route("/graphql", graphql)
        .with_state(api)
}

/// Allows pages of the configured origins to use the API. Cookies are not allowed, because only the `Authorization` header
/// authenticates a request, and a browser does not send this header by itself.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, LAST_EVENT_ID, TRACEPARENT, TRACESTATE])
        .expose_headers([HeaderName::from_static(REQUEST_ID), RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}
