//! The HTTP surface: GraphQL, GraphiQL and health.

mod graphiql;
mod graphql;
mod health;
mod negotiation;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get};
use tracing::Instrument;
use uuid::Uuid;

use crate::auth::Verifier;
use crate::graphql::MessagingSchema;
use crate::messages_table::MessagesTable;
use crate::messaging::Messaging;
use crate::stream::health::Health;

/// What the handlers share.
pub struct Api {
    /// The schema.
    pub schema: MessagingSchema,
    /// The rules.
    pub messaging: Messaging,
    /// The table, for readiness.
    pub table: MessagesTable,
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// The stream consumer of this process, if it runs one.
    pub consumer: Option<Arc<Health>>,
    /// A token that GraphiQL starts with, in `dev`.
    pub graphiql_token: Option<String>,
}

/// The header that names a request in answers and in the log.
const REQUEST_ID: &str = "x-request-id";

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/graphql", any(graphql::handle))
        .route("/graphiql", get(graphiql::page))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .layer(middleware::from_fn(with_request_id))
        .with_state(Arc::new(api))
}

/// Gives every request an id of ours, which the log and the answer carry.
async fn with_request_id(request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().hyphenated().to_string();
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
