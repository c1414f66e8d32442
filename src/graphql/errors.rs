//! The one place where errors become GraphQL errors, with `extensions.code` and, for bad input, `extensions.reason`.

use async_graphql::{Error, ErrorExtensionValues, Response, ServerError};

use crate::messaging::{BadInput, MessagingError};
use crate::report;
use crate::users::UsersError;

/// The kinds of errors that clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nobody is signed in.
    Unauthenticated,
    /// There is no such thing, or not for this user.
    NotFound,
    /// The request itself is wrong.
    BadUserInput,
    /// The user sends too many messages; `extensions.retryAfter` says in how many seconds the next one may come.
    Throttled,
    /// A store is unreachable or overloaded; later it may work.
    Unavailable,
    /// Our fault; the cause is in the log under the request id.
    Internal,
}

impl Code {
    /// The name in `extensions.code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::NotFound => "NOT_FOUND",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::Throttled => "THROTTLED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Marks, by its extensions, an error after which a message may be stored: its client should look before it sends again.
pub fn mark_outcome_unknown(extensions: &mut Option<ErrorExtensionValues>) {
    extensions.get_or_insert_default().set("outcome", "UNKNOWN");
}

/// An error of a field.
pub(super) fn field_error(code: Code, reason: Option<&str>, message: impl Into<String>) -> Error {
    let mut error = Error::new(message);
    error.extensions = Some(extensions(code, reason));
    error
}

/// An error of a whole request, for answers that never reach a field.
pub fn coded_error(code: Code, reason: Option<&str>, message: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(message, None);
    error.extensions = Some(extensions(code, reason));
    error
}

fn extensions(code: Code, reason: Option<&str>) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code.as_str());
    if let Some(reason) = reason {
        extensions.set("reason", reason);
    }
    extensions
}

/// Gives a code to the errors that the GraphQL engine itself raised: of a document, its variables or its limits. Returns
/// whether one of them kept the request from being executed; those at a path did not.
pub fn name_uncoded(response: &mut Response) -> bool {
    let mut not_executed = false;
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            not_executed |= error.path.is_empty();
            extensions.set("code", Code::BadUserInput.as_str());
            extensions.set("reason", "request_invalid");
        }
    }
    not_executed
}

/// Says in each error that a message of the request was stored all the same: without `data` nothing else does.
pub fn tell_stored(response: &mut Response) {
    for error in &mut response.errors {
        error.message.push_str(" A message of this request has been stored.");
        mark_outcome_unknown(&mut error.extensions);
    }
}

/// Maps what the rules answer.
pub(super) fn of_messaging(error: MessagingError) -> Error {
    match &error {
        MessagingError::BadInput(input) => of_bad_input(input),
        MessagingError::NoSuchGroup => field_error(Code::NotFound, None, error.to_string()),
        MessagingError::Throttled { retry_after } => {
            let mut mapped = field_error(Code::Throttled, None, error.to_string());
            let seconds = retry_after.as_secs_f64().ceil() as u64;
            mapped.extensions.get_or_insert_default().set("retryAfter", seconds.max(1));
            mapped
        }
        MessagingError::Unavailable { outcome_unknown, .. } => {
            tracing::warn!(error = report(&error), "answered UNAVAILABLE");
            let mut mapped = unavailable();
            if *outcome_unknown {
                mapped.message = "The message may or may not have been stored.".to_owned();
                mark_outcome_unknown(&mut mapped.extensions);
            }
            mapped
        }
        MessagingError::Internal(_) => internal(&error),
    }
}

/// Maps what the users table answers.
pub(super) fn of_users(error: &UsersError) -> Error {
    match error {
        UsersError::Unavailable(_) => {
            tracing::warn!(error = report(error), "answered UNAVAILABLE");
            unavailable()
        }
        UsersError::Refused(_) => internal(error),
    }
}

fn of_bad_input(input: &BadInput) -> Error {
    field_error(Code::BadUserInput, Some(input.reason()), input.to_string())
}

fn unavailable() -> Error {
    field_error(Code::Unavailable, None, "The service is unavailable at the moment.")
}

/// The cause goes to the log and never to the client.
fn internal(error: &dyn std::error::Error) -> Error {
    tracing::error!(error = report(error), "answered INTERNAL");
    field_error(Code::Internal, None, "Something went wrong on our side.")
}
