//! Whether the process lives, and whether it can answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use crate::report;

/// How long a part may take to show that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs.
pub async fn live() -> &'static str {
    "live\n"
}

/// Every part that a request needs is there; 503 with the parts that are not.
pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    let table = async { api.table.ping().await.map_err(|error| report(&error)) };
    let users = async { api.messaging.users().ping().await.map_err(|error| report(&error)) };
    let (table, users) = futures::join!(within(table), within(users));
    let keys = api.verifier.keys().is_loaded();
    for (part, outcome) in [("dynamodb", &table), ("postgres", &users)] {
        if let Err(error) = outcome {
            tracing::warn!(part, error, "not ready");
        }
    }
    let stuck = api.consumer.as_ref().and_then(|consumer| consumer.stuck());
    if let Some(what) = &stuck {
        tracing::warn!(part = "consumer", error = what, "not ready");
    }
    let ready = table.is_ok() && users.is_ok() && keys && stuck.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts = json!({
        "ready": ready,
        "dynamodb": table.is_ok(),
        "postgres": users.is_ok(),
        "tokenKeys": keys,
        "consumer": api.consumer.as_ref().map(|_| stuck.is_none()),
    });
    (status, Json(parts)).into_response()
}

async fn within(part: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(PATIENCE, part).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
