//! What the log, the metrics and the traces say about a request: never a token, a text of a message or a name that only the
//! client knows.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;

use crate::documents::OperationInfo;
use crate::outcome::{Code, Outcome};
use crate::{metrics, shortened, telemetry};

/// Maximum number of characters of an operation's name in the log and the traces. A client can make it as long as a body.
const MAX_NAME_CHARS: usize = 100;

/// Collects what is known about a request and writes it when the request ends. A request whose client closes the connection
/// is dropped by the server; then it is written as cancelled.
pub struct RequestLog {
    start: Instant,
    is_written: bool,
    /// The operation, once its document is valid.
    pub operation: Option<Arc<OperationInfo>>,
}

impl RequestLog {
    /// A request starts.
    pub fn start() -> Self {
        Self { start: Instant::now(), is_written: false, operation: None }
    }

    /// The request ends with a response.
    pub fn finish(mut self, status: StatusCode, outcome: Outcome) {
        self.write(Some(status), outcome);
    }

    fn write(&mut self, status: Option<StatusCode>, outcome: Outcome) {
        self.is_written = true;
        let root_fields = self.operation.as_ref().map_or(&[] as &[String], |operation| &operation.root_fields);
        let operation = self.operation.as_ref().and_then(|operation| operation.name.as_deref());
        let operation = operation.map(|name| shortened(name, MAX_NAME_CHARS));
        let duration = self.start.elapsed();
        if root_fields.is_empty() {
            metrics::request("none", outcome, duration);
        }
        for field in root_fields {
            metrics::request(field, outcome, duration);
        }
        telemetry::end_request(operation, status, outcome);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        let fields = || root_fields.join(",");
        let status = status.map(|status| status.as_u16());
        let outcome_name = outcome.as_str();
        if outcome == Outcome::Failed(Code::Internal) {
            tracing::error!(
                operation,
                fields = fields(),
                duration_ms,
                status,
                outcome = outcome_name,
                "request finished"
            );
        } else {
            tracing::info!(
                operation,
                fields = fields(),
                duration_ms,
                status,
                outcome = outcome_name,
                "request finished"
            );
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(None, Outcome::Cancelled);
        }
    }
}
