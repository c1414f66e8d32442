//! What the log and the metrics are told of a request: never a token, a text or a name that only the client knows.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use axum::response::Response;

use crate::graphql::documents::Facts;
use crate::{metrics, shortened, telemetry};

/// The code of an answer's first error; put into the answer's extensions by whoever makes it.
#[derive(Clone, Debug)]
pub struct Outcome(pub String);

/// What clients name may be as long as a body is, and the log and the traces need not be.
const LONGEST_NAME: usize = 100;

/// Gathered while a request is answered.
pub struct Told {
    begun: Instant,
    /// The operation, once its document is known to be valid.
    pub operation: Option<Arc<Facts>>,
}

impl Told {
    /// A request begins.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), operation: None }
    }

    /// It ends with this answer.
    pub fn end(self, response: &Response) {
        let Self { begun, operation } = self;
        let fields = operation.as_ref().map_or(&[] as &[String], |operation| &operation.fields);
        let operation = operation.as_ref().and_then(|operation| operation.name.as_deref());
        let operation = operation.map(|name| shortened(name, LONGEST_NAME));
        let duration = begun.elapsed();
        let outcome = match response.extensions().get::<Outcome>() {
            Some(Outcome(code)) => code.as_str(),
            None => metrics::OK,
        };
        if fields.is_empty() {
            metrics::request("none", outcome, duration);
        }
        for field in fields {
            metrics::request(field, outcome, duration);
        }
        telemetry::end_request(operation, response.status(), outcome);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        let (status, fields) = (response.status(), || fields.join(","));
        if outcome == "INTERNAL" || (status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE) {
            tracing::error!(operation, fields = fields(), duration_ms, status = status.as_u16(), outcome, "answered");
        } else {
            tracing::info!(operation, fields = fields(), duration_ms, status = status.as_u16(), outcome, "answered");
        }
    }
}
