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

/// The outcome of a request whose client did not wait for the answer.
const CANCELLED: &str = "CANCELLED";

/// Gathered while a request is answered, and told when it is, or when it is given up: the server drops a request whose
/// connection its client has closed.
pub struct Told {
    begun: Instant,
    is_told: bool,
    /// The operation, once its document is known to be valid.
    pub operation: Option<Arc<Facts>>,
}

impl Told {
    /// A request begins.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), is_told: false, operation: None }
    }

    /// It ends with this answer.
    pub fn end(mut self, response: &Response) {
        let outcome = match response.extensions().get::<Outcome>() {
            Some(Outcome(code)) => code.as_str(),
            None => metrics::OK,
        };
        self.tell(Some(response.status()), outcome);
    }

    fn tell(&mut self, status: Option<StatusCode>, outcome: &str) {
        self.is_told = true;
        let fields = self.operation.as_ref().map_or(&[] as &[String], |operation| &operation.fields);
        let operation = self.operation.as_ref().and_then(|operation| operation.name.as_deref());
        let operation = operation.map(|name| shortened(name, LONGEST_NAME));
        let duration = self.begun.elapsed();
        if fields.is_empty() {
            metrics::request("none", outcome, duration);
        }
        for field in fields {
            metrics::request(field, outcome, duration);
        }
        telemetry::end_request(operation, status, outcome);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        let fields = || fields.join(",");
        let is_fault = |status: StatusCode| status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
        let (is_fault, status) = (status.is_some_and(is_fault), status.map(|status| status.as_u16()));
        if outcome == "INTERNAL" || is_fault {
            tracing::error!(operation, fields = fields(), duration_ms, status, outcome, "answered");
        } else {
            tracing::info!(operation, fields = fields(), duration_ms, status, outcome, "answered");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(None, CANCELLED);
        }
    }
}
