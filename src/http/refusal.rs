//! The reasons why a request gets no `data`, and the status, code and reason that the client gets for each of them.

use async_graphql::ServerError;
use axum::http::StatusCode;

use super::body::BodyError;
use super::parameters::ParametersError;
use crate::auth::TokenError;
use crate::documents::DocumentError;
use crate::graphql::{ApiError, MessageOutcome};
use crate::outcome::Code;
use crate::registration::RegistrationError;

/// Why a request has no `data`.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The client accepts no media type of the server.
    #[error(
        "`Accept` must allow application/graphql-response+json or application/json or, for a subscription, text/event-stream or multipart/mixed."
    )]
    NotAcceptable,
    /// The client accepts no media type for subscriptions.
    #[error(
        "A subscription needs `Accept: text/event-stream` or `Accept: multipart/mixed`, or a WebSocket with the subprotocol graphql-transport-ws."
    )]
    NotAStream,
    /// The request to open a WebSocket is incomplete.
    #[error(
        "A WebSocket needs a GET request over HTTP/1.1 with `Connection: Upgrade`, `Sec-WebSocket-Version: 13` and `Sec-WebSocket-Key`."
    )]
    Upgrade,
    /// A page of an origin that is not allowed opens a WebSocket.
    #[error("Pages of this origin may not open a WebSocket. `CORS_ORIGINS` must contain the origin.")]
    Origin,
    /// The user has too many sockets and event streams.
    #[error("You already have {maximum} open WebSockets and event streams, the maximum. Close one of them.")]
    TooManySockets {
        /// The maximum.
        maximum: usize,
    },
    /// The socket has too many operations.
    #[error("The WebSocket already has {maximum} operations, the maximum. Complete one of them.")]
    TooManyOperations {
        /// The maximum.
        maximum: usize,
    },
    /// All permits are taken.
    #[error("The server has too many concurrent requests. Please try again.")]
    Overloaded,
    /// The request lost its place, because it was slow when the server was receiving too many requests.
    #[error("The server is receiving too many requests, and the client sent this one too slowly. Try again later.")]
    LostPlace,
    /// The method is neither GET nor POST.
    #[error("Use GET or POST.")]
    Method,
    /// A mutation over GET.
    #[error("A GET request cannot execute mutations. Use POST.")]
    NotAQuery,
    /// The body has another media type or charset.
    #[error("The body must be application/json in UTF-8. Check `Content-Type`.")]
    NotJson,
    /// The body is compressed.
    #[error("The body must not be compressed. Remove `Content-Encoding`.")]
    Encoded,
    /// The body could not be received.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The parameters are invalid.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The access token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The user of the token could not be registered.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The document is rejected.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The engine rejected a planned operation, or the response is too large. Each error has its own message.
    #[error("The operation has errors.")]
    Engine(Vec<ServerError>),
    /// The request took longer than the limit.
    #[error("The request took longer than the limit.")]
    TimedOut {
        /// Whether the message of the request was stored. `None` for a query or a subscription.
        message: Option<MessageOutcome>,
    },
}

/// The part of a response that depends on the refusal.
struct Row {
    status: StatusCode,
    code: Code,
    reason: &'static str,
}

impl Refusal {
    /// Returns the HTTP status, the code and the reason of the refusal. The status of a rejected document is 400. In a
    /// response of the type `application/json` it is 200 instead, as GraphQL over HTTP says (see [`super::response`]).
    fn row(&self) -> Row {
        let bad = |status, reason| Row { status, code: Code::BadUserInput, reason };
        match self {
            Self::NotAcceptable | Self::NotAStream => bad(StatusCode::NOT_ACCEPTABLE, "not_acceptable"),
            Self::Upgrade => bad(StatusCode::BAD_REQUEST, "websocket_invalid"),
            Self::Origin => bad(StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::TooManySockets { .. } => {
                Row { status: StatusCode::TOO_MANY_REQUESTS, code: Code::Throttled, reason: "max_sockets_exceeded" }
            }
            Self::TooManyOperations { .. } => {
                Row { status: StatusCode::TOO_MANY_REQUESTS, code: Code::Throttled, reason: "max_operations_exceeded" }
            }
            Self::Method | Self::NotAQuery => bad(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NotJson => bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            Self::Encoded => bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded"),
            Self::Body(BodyError::TooLong { .. }) => bad(StatusCode::PAYLOAD_TOO_LARGE, "max_body_exceeded"),
            Self::Body(BodyError::TimedOut) => bad(StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::Body(BodyError::Cut) => bad(StatusCode::BAD_REQUEST, "body_cut"),
            Self::Parameters(_) => bad(StatusCode::BAD_REQUEST, "parameters_invalid"),
            Self::Document(error) => bad(StatusCode::BAD_REQUEST, error.reason()),
            Self::Engine(_) => bad(StatusCode::BAD_REQUEST, "request_invalid"),
            Self::Token(error @ TokenError::KeysUnavailable) => {
                Row { status: StatusCode::SERVICE_UNAVAILABLE, code: Code::Unavailable, reason: error.reason() }
            }
            Self::Token(error) => {
                Row { status: StatusCode::UNAUTHORIZED, code: Code::Unauthenticated, reason: error.reason() }
            }
            Self::Registration(error) => {
                let (status, code) = match error {
                    RegistrationError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
                    _ => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
                };
                Row { status, code, reason: error.reason() }
            }
            Self::Overloaded => {
                Row { status: StatusCode::SERVICE_UNAVAILABLE, code: Code::Unavailable, reason: "overloaded" }
            }
            Self::LostPlace => Row {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: Code::Unavailable,
                reason: "max_receiving_exceeded",
            },
            Self::TimedOut { .. } => {
                Row { status: StatusCode::SERVICE_UNAVAILABLE, code: Code::Unavailable, reason: "request_timeout" }
            }
        }
    }

    /// The HTTP status of the response.
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// The code in the request log, the metrics and the traces.
    pub fn code(&self) -> Code {
        self.row().code
    }

    /// Whether the request was well-formed, and GraphQL rejected its document or its operation.
    pub fn is_graphql_request_error(&self) -> bool {
        matches!(self, Self::Document(_) | Self::Engine(_))
    }

    /// Returns the entries of `errors` in the response.
    pub fn errors(self) -> Vec<ServerError> {
        let Row { code, reason, .. } = self.row();
        let error = |message: String| ServerError::from(ApiError::new(code, message).with_reason(reason));
        match &self {
            Self::Engine(errors) => errors.clone(),
            Self::Document(document) if !document.violations().is_empty() => {
                let violations = document.violations().iter();
                let located = |violation: &crate::documents::Violation| {
                    let locations = violation.locations.clone();
                    ServerError { locations, ..error(violation.message.clone()) }
                };
                violations.map(located).collect()
            }
            Self::TimedOut { message: Some(outcome) } => {
                let error = ApiError::new(code, self.to_string()).with_reason(reason).with_message_outcome(*outcome);
                vec![error.into()]
            }
            _ => vec![error(self.to_string())],
        }
    }
}
