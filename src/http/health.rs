//! Liveness and readiness of the process.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::api::Api;
use crate::messages_table::TableError;
use crate::report;
use crate::users::UsersError;

/// How long a store may take to respond.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a store is not ready.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    DynamoDb(#[from] TableError),
    #[error(transparent)]
    Postgres(#[from] UsersError),
    #[error("no response within {} seconds", TIMEOUT.as_secs())]
    TimedOut,
}

/// The process runs.
pub async fn live() -> &'static str {
    "live\n"
}

/// Every part that a request needs is available. Otherwise the status is 503, and the body says which part is not.
pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    let table = within_timeout(async { Ok(api.table.ping().await?) });
    let users = within_timeout(async { Ok(api.messaging.users().ping().await?) });
    let (table, users) = futures::join!(table, users);
    let keys = api.verifier.keys().is_loaded();
    for (part, result) in [("dynamodb", &table), ("postgres", &users)] {
        if let Err(error) = result {
            tracing::warn!(part, error = report(error), "a part of the server is not ready");
        }
    }
    let stuck = api.consumer.as_ref().and_then(|consumer| consumer.stuck());
    if let Some(error) = &stuck {
        tracing::warn!(part = "consumer", error, "a part of the server is not ready");
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

async fn within_timeout(ping: impl Future<Output = Result<(), NotReady>>) -> Result<(), NotReady> {
    tokio::time::timeout(TIMEOUT, ping).await.unwrap_or(Err(NotReady::TimedOut))
}
