//! How a request ended. The response, the request log, the metrics and the traces all take these values.

/// The error codes that clients distinguish: `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request has no valid access token, or no user belongs to the token.
    Unauthenticated,
    /// The object does not exist, or the user may not see it.
    NotFound,
    /// The request is invalid.
    BadUserInput,
    /// The user sends too many messages. `extensions.retryAfter` is the number of seconds until the next one is accepted.
    Throttled,
    /// A store is unreachable or overloaded. The same request can succeed later.
    Unavailable,
    /// A bug or a wrong configuration of the server. The log has the cause, under the id of the request.
    Internal,
}

impl Code {
    /// The value of `extensions.code`.
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

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response has no errors.
    Ok,
    /// The response has errors; this is the code of the first one.
    Failed(Code),
    /// The client closed the connection before the response was complete.
    Cancelled,
}

impl Outcome {
    /// The value in the request log, the metrics and the traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Failed(code) => code.as_str(),
            Self::Cancelled => "CANCELLED",
        }
    }
}
