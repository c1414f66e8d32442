//! Converts all errors to GraphQL errors with `extensions.code` and, where one code has several causes, `extensions.reason`.

use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use async_graphql::{Error, ErrorExtensionValues, Response, ServerError, Value};

use crate::messaging::MessagingError;
use crate::outcome::{Code, Outcome};
use crate::report;
use crate::users::UsersError;

/// Key of the extension that says whether a message was stored despite the error.
const OUTCOME: &str = "outcome";

/// An error in the form that clients receive.
#[derive(Clone, Debug)]
pub struct ApiError {
    code: Code,
    message: Cow<'static, str>,
    reason: Option<&'static str>,
    message_outcome: Option<MessageOutcome>,
    retry_after_seconds: Option<u64>,
}

/// Whether a message was stored despite the error. Clients receive it as `extensions.outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It is unknown whether the message was stored. Without an idempotency key, the client should read the
    /// conversation before it sends the message again.
    Unknown,
    /// A message of the request was stored. Without an idempotency key, the client must not send it again.
    Stored,
}

impl MessageOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Stored => "STORED",
        }
    }
}

impl ApiError {
    /// Creates an error without a reason. The message is for developers of clients.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), reason: None, message_outcome: None, retry_after_seconds: None }
    }

    /// Creates an error for invalid input. Clients can compare `reason`, which they receive as `extensions.reason`.
    pub fn bad_input(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadUserInput, message).with_reason(reason)
    }

    /// Sets `extensions.reason`.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Sets `extensions.outcome`.
    #[must_use]
    pub fn with_message_outcome(mut self, outcome: MessageOutcome) -> Self {
        self.message_outcome = Some(outcome);
        self
    }

    fn extensions(&self) -> ErrorExtensionValues {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code.as_str());
        if let Some(reason) = self.reason {
            extensions.set("reason", reason);
        }
        if let Some(outcome) = self.message_outcome {
            extensions.set(OUTCOME, outcome.as_str());
        }
        if let Some(seconds) = self.retry_after_seconds {
            extensions.set("retryAfter", seconds);
        }
        extensions
    }
}

impl From<ApiError> for Error {
    /// Creates the error of a field. It keeps the [`ApiError`] as its source, so that [`finish`] can read the code.
    fn from(error: ApiError) -> Self {
        let (message, extensions) = (error.message.to_string(), Some(error.extensions()));
        Self { message, extensions, source: Some(Arc::new(error)) }
    }
}

impl From<ApiError> for ServerError {
    /// Creates an error of the whole request.
    fn from(error: ApiError) -> Self {
        let Error { message, extensions, source } = error.into();
        Self { message, extensions, source, locations: Vec::new(), path: Vec::new() }
    }
}

/// Adds missing codes to the errors of a response, and returns the outcome of the request. If `stored` is true, the
/// request has stored a message. Each error then says so, because `data` may be null.
///
/// # Errors
/// Returns the errors of a request that the engine did not execute although its document passed validation.
pub(super) fn finish(response: &mut Response, stored: bool) -> Result<Outcome, Vec<ServerError>> {
    let mut is_executed = true;
    for error in &mut response.errors {
        if error.source::<ApiError>().is_none() {
            is_executed &= !error.path.is_empty();
            let coded = ApiError::bad_input("request_invalid", std::mem::take(&mut error.message));
            let (locations, path) = (std::mem::take(&mut error.locations), std::mem::take(&mut error.path));
            *error = ServerError { locations, path, ..coded.into() };
        }
        if stored {
            say_that_a_message_was_stored(error);
        }
    }
    if !is_executed && response.data == Value::Null {
        return Err(std::mem::take(&mut response.errors));
    }
    let first = response.errors.first().and_then(|error| error.source::<ApiError>());
    Ok(first.map_or(Outcome::Ok, |error| Outcome::Failed(error.code)))
}

fn say_that_a_message_was_stored(error: &mut ServerError) {
    error.message.push_str(" A message of this request has been stored.");
    let extensions = error.extensions.get_or_insert_default();
    // If it is unknown whether the message of this error was stored, the error keeps that outcome.
    if extensions.get(OUTCOME).is_none() {
        extensions.set(OUTCOME, MessageOutcome::Stored.as_str());
    }
}

/// Creates the error that replaces a response of more than `maximum` bytes.
pub(super) fn response_too_large(maximum: usize, stored: bool) -> ServerError {
    let message = format!("The response is larger than {maximum} bytes. Request smaller pages or fewer fields.");
    let mut error = ServerError::from(ApiError::bad_input("max_response_exceeded", message));
    if stored {
        say_that_a_message_was_stored(&mut error);
    }
    error
}

/// Converts an error of the messaging rules.
pub(super) fn messaging_error(error: impl Borrow<MessagingError>) -> Error {
    let error = error.borrow();
    let mapped = match error {
        MessagingError::BadInput(input) => ApiError::bad_input(input.reason(), input.to_string()),
        MessagingError::NoSuchGroup => ApiError::new(Code::NotFound, error.to_string()),
        MessagingError::Throttled { retry_after } => {
            let seconds = retry_after.as_secs_f64().ceil() as u64;
            let mapped = ApiError::new(Code::Throttled, error.to_string());
            ApiError { retry_after_seconds: Some(seconds.max(1)), ..mapped }
        }
        MessagingError::Unavailable { outcome_unknown: false, .. } => unavailable(error),
        MessagingError::Unavailable { outcome_unknown: true, .. } => {
            let mapped = unavailable(error).with_message_outcome(MessageOutcome::Unknown);
            ApiError { message: "The message may or may not have been stored.".into(), ..mapped }
        }
        MessagingError::Internal(_) => internal(error),
    };
    mapped.into()
}

/// Converts an error of the users table.
pub(super) fn users_error(error: &UsersError) -> Error {
    let mapped = match error {
        UsersError::Unavailable(_) => unavailable(error),
        UsersError::Refused(_) => internal(error),
    };
    mapped.into()
}

/// Logs the cause, and returns the error that a client receives if a store is unavailable.
fn unavailable(error: &dyn std::error::Error) -> ApiError {
    tracing::warn!(error = report(error), "a field failed because a store is unavailable");
    ApiError::new(Code::Unavailable, "The service is temporarily unavailable. Try again later.")
}

/// Logs the cause, and returns the error that a client receives after a fault of the server. It does not contain the
/// cause.
fn internal(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(error = report(error), "a field failed because of an internal error");
    ApiError::new(Code::Internal, "Internal server error.")
}
