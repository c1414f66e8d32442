//! Why the server closes a WebSocket.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};

/// Maximum length of a reason in bytes (RFC 6455, section 5.5).
const MAX_REASON_BYTES: usize = 123;

/// The content of a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Code of graphql-transport-ws, of RFC 6455, or of IANA's registry.
    pub code: u16,
    /// Text for developers, at most [`MAX_REASON_BYTES`] long.
    pub reason: Cow<'static, str>,
}

/// Clients of graphql-ws connect again after the codes 1012, 1013, 4403, 4408 and 4499, and do not after 1002, 1007, 1009,
/// 4400, 4401, 4406, 4409 and 4429.
impl Close {
    fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The client sent a message that the protocol does not allow.
    pub fn bad_request(problem: &str) -> Self {
        let end = (0..=MAX_REASON_BYTES.min(problem.len())).rev().find(|end| problem.is_char_boundary(*end));
        Self::new(4400, problem[..end.unwrap_or(0)].to_owned())
    }

    /// The client sent `subscribe` before it received `connection_ack`.
    pub fn unauthorized() -> Self {
        Self::new(4401, "Unauthorized")
    }

    /// The token is missing, is not accepted or has expired, or its user does not exist.
    pub fn forbidden(reason: &'static str) -> Self {
        Self::new(4403, reason)
    }

    /// The client offers no subprotocol that the server accepts.
    pub fn subprotocol() -> Self {
        Self::new(4406, "Subprotocol not acceptable")
    }

    /// The client did not send `connection_init` in time.
    pub fn init_timeout() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }

    /// The client sent `subscribe` with the id of an operation that has not ended.
    pub fn id_in_use(id: &str) -> Self {
        let reason = format!("Subscriber for {id} already exists");
        Self { code: 4409, ..Self::bad_request(&reason) }
    }

    /// The client sent a second `connection_init`.
    pub fn second_init() -> Self {
        Self::new(4429, "Too many initialisation requests")
    }

    /// The client does not respond, or does not accept data.
    pub fn unresponsive() -> Self {
        Self::new(4499, "Client does not respond")
    }

    /// The process stops.
    pub fn stopping() -> Self {
        Self::new(1012, "Service restart")
    }

    /// The user has too many connections, or the server cannot verify the token or find its user at the moment.
    pub fn try_again_later(reason: &'static str) -> Self {
        Self::new(1013, reason)
    }

    /// The client sends too many messages. Clients connect again after this code, because a browser that is only busy must not
    /// lose its updates.
    pub fn too_many_messages() -> Self {
        Self::new(1013, "Too many messages")
    }

    /// Returns the close frame for an error of the connection, or `None` if the connection is lost.
    pub fn of_error(error: &Error) -> Option<Self> {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Self::new(1009, "Message too big")),
            Error::Utf8(_) => Some(Self::new(1007, "Invalid UTF-8")),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(_) => Some(Self::new(1002, "Protocol error")),
            _ => None,
        }
    }
}
