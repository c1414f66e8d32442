//! Liveness and readiness of the process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::Api;
use super::readiness::StoresReady;

/// Responds that the process is alive.
pub async fn live() -> &'static str {
    "live\n"
}

/// Responds whether every part that a request needs is available. If one is not, the status is 503, and the body says which.
pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    let StoresReady { dynamodb, postgres } = api.readiness.stores().await;
    let keys = api.verifier.keys().is_loaded();
    let stuck = api.consumer.as_ref().and_then(|consumer| consumer.stuck());
    if let Some(error) = &stuck {
        tracing::warn!(part = "consumer", error, "a part of the server is not ready");
    }
    let ready = dynamodb && postgres && keys && stuck.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts = json!({
        "ready": ready,
        "dynamodb": dynamodb,
        "postgres": postgres,
        "tokenKeys": keys,
        // Not part of `ready`: without hints, the process serves requests, and subscriptions receive messages later.
        "liveHints": api.live.listening().is_established(),
        "consumer": api.consumer.as_ref().map(|_| stuck.is_none()),
    });
    (status, Json(parts)).into_response()
}
