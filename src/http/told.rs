//! What the log and the metrics are told of a request: never a token, a text or a name that only the client knows.

use std::time::Instant;

use axum::http::StatusCode;
use axum::response::Response;

use crate::{metrics, shortened, telemetry};

/// The code of an answer's first error; put into the answer's extensions by whoever makes it.
#[derive(Clone, Debug)]
pub struct Outcome(pub String);

/// What clients name may be as long as a body is, and the log and the traces need not be.
const LONGEST_NAME: usize = 100;

/// Gathered while a request is answered.
pub struct Told {
    begun: Instant,
    /// The operation's name, once its document is known to be valid.
    pub operation: Option<String>,
    /// The schema's fields at its root.
    pub fields: Vec<String>,
}

impl Told {
    /// A request begins.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), operation: None, fields: Vec::new() }
    }

    /// It ends with this answer.
    pub fn end(self, response: &Response) {
        let Self { begun, operation, fields } = self;
        let operation = operation.map(|name| shortened(&name, LONGEST_NAME).to_owned());
        let duration = begun.elapsed();
        let outcome = match response.extensions().get::<Outcome>() {
            Some(Outcome(code)) => code.as_str(),
            None => metrics::OK,
        };
        let unknown = ["none".to_owned()];
        for field in if fields.is_empty() { unknown.as_slice() } else { fields.as_slice() } {
            metrics::request(field, outcome, duration);
        }
        telemetry::end_request(operation.as_deref(), response.status(), outcome);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        let (operation, status) = (operation.as_deref(), response.status());
        let fields = fields.join(",");
        if outcome == "INTERNAL" || (status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE) {
            tracing::error!(operation, fields, duration_ms, status = status.as_u16(), outcome, "answered");
        } else {
            tracing::info!(operation, fields, duration_ms, status = status.as_u16(), outcome, "answered");
        }
    }
}
