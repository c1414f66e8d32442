//! Writes each request to the log, the metrics and the traces. These records never contain a token, the text of a message
//! or the values of variables. The name of the operation, which the client chooses, is in the log and the traces, but not in the
//! metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use tracing::Span;

use crate::documents::OperationInfo;
use crate::outcome::{Code, Outcome};
use crate::{metrics, shortened, telemetry};

/// Maximum number of characters of an operation's name in the log and the traces. A client can send a name that is as long
/// as a document.
const MAX_NAME_CHARS: usize = 100;

/// Collects data about a request and writes it when the request ends. If the client closes the connection, the server drops
/// the request and this value, which is then written with the outcome "cancelled".
pub struct RequestLog {
    start: Instant,
    /// The span of the request. If the client disconnects, this log can be dropped outside of the span.
    span: Span,
    is_written: bool,
    /// The operation. `None` until its document is validated.
    pub operation: Option<Arc<OperationInfo>>,
    /// Number of delivered events. `None` unless the request is a subscription that has started.
    pub events: Option<u64>,
}

impl RequestLog {
    /// Starts the log of a request.
    pub fn start() -> Self {
        Self { start: Instant::now(), span: Span::current(), is_written: false, operation: None, events: None }
    }

    /// Writes a request that ends with a response.
    pub fn finish(mut self, status: StatusCode, outcome: Outcome) {
        self.write(Some(status), outcome);
    }

    /// Writes an operation that ends without an HTTP status: an operation on a socket, or a subscription.
    pub fn end(mut self, outcome: Outcome) {
        self.write(None, outcome);
    }

    /// Records that the request is a subscription that has started.
    pub fn subscribed(&mut self) {
        self.events = Some(0);
    }

    /// Counts an event that the subscription has delivered.
    pub fn delivered(&mut self) {
        self.events = self.events.map(|events| events + 1);
        for field in self.root_fields() {
            metrics::subscription_event(field);
        }
    }

    fn root_fields(&self) -> &[String] {
        self.operation.as_ref().map_or(&[], |operation| &operation.root_fields)
    }

    fn write(&mut self, status: Option<StatusCode>, outcome: Outcome) {
        self.is_written = true;
        let span = self.span.clone();
        let _entered = span.enter();
        let (root_fields, events) = (self.root_fields(), self.events);
        let operation = self.operation.as_ref().and_then(|operation| operation.name.as_deref());
        let operation = operation.map(|name| shortened(name, MAX_NAME_CHARS));
        let duration = self.start.elapsed();
        if root_fields.is_empty() {
            metrics::request("none", outcome, duration);
        }
        for field in root_fields {
            match events {
                None => metrics::request(field, outcome, duration),
                Some(_) => metrics::subscription_ended(field, outcome),
            }
        }
        telemetry::end_request(operation, status, outcome, events);
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
                events,
                "request finished"
            );
        } else {
            tracing::info!(
                operation,
                fields = fields(),
                duration_ms,
                status,
                outcome = outcome_name,
                events,
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
