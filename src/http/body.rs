//! Reads the body of a request, and discards the rest of the body of a rejected request.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Version};
use headers::{ContentType, HeaderMapExt};
use http_body_util::{BodyExt, Limited};
use mime::Mime;
use tokio::time::{Instant, timeout_at};

use super::receiving::Place;
use super::server::Client;

/// Maximum time for receiving a body, counted from the start of the request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes of the body of a rejected request that are read and discarded.
const MAX_DISCARDED_BYTES: usize = 4 * 1024 * 1024;
/// The only content encoding that the server accepts in a request.
pub const IDENTITY: &str = "identity";

/// The body of one request.
pub struct RequestBody {
    body: Body,
    deadline: Instant,
    /// Whether the server has started to read it.
    is_started: bool,
    is_complete: bool,
}

/// Why a body could not be received.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error("The body is longer than {maximum} bytes.")]
    TooLong {
        /// The limit.
        maximum: usize,
    },
    /// The client took too long to send it.
    #[error("The body was not received within {} seconds.", TIMEOUT.as_secs())]
    TimedOut,
    /// The connection ended, or the client violated the protocol.
    #[error("The body is incomplete.")]
    Cut,
}

impl RequestBody {
    /// The body of a request that has just started.
    pub fn new(body: Body) -> Self {
        Self { body, deadline: Instant::now() + TIMEOUT, is_started: false, is_complete: false }
    }

    /// Reads the whole body, which may have at most `maximum` bytes. Counts the received bytes in `place`.
    pub async fn read(&mut self, maximum: usize, place: &Place<'_>) -> Result<Bytes, BodyError> {
        // If `Content-Length` exceeds the maximum, nothing is read.
        if self.body.size_hint().lower() > maximum as u64 {
            return Err(BodyError::TooLong { maximum });
        }
        self.is_started = true;
        let body = (&mut self.body).map_frame(|frame| {
            place.received(frame.data_ref().map_or(0, Bytes::len));
            frame
        });
        let body = Limited::new(body, maximum).collect();
        match timeout_at(self.deadline, body).await {
            Err(_) => Err(BodyError::TimedOut),
            Ok(Ok(body)) => {
                self.is_complete = true;
                Ok(body.to_bytes())
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(BodyError::TooLong { maximum }),
            Ok(Err(_)) => Err(BodyError::Cut),
        }
    }

    /// Reads and discards the rest of the body while the response is sent, up to a limit of length and time. If the server
    /// closed a connection with unread bytes, the connection would be reset, and the client would see a broken pipe
    /// instead of the response (RFC 9112, section 9.6). With HTTP/2 this is not necessary, because the server can end one
    /// request without closing the connection.
    pub fn discard_rest(mut self, parts: &Parts, is_rejected: bool) {
        // A client that waits for `100 Continue` has not sent the body, and reading would request it.
        let is_unsent = !self.is_started && parts.headers.contains_key(EXPECT);
        if is_unsent || self.is_complete || self.body.is_end_stream() || parts.version == Version::HTTP_2 {
            return;
        }
        // While the task keeps the client, the request counts as unfinished, so the bytes do not count as the head of another
        // request.
        let client = parts.extensions.get::<Client>().cloned();
        if let Some(client) = client.as_ref().filter(|_| is_rejected) {
            client.rejected();
        }
        tokio::spawn(async move {
            let _unfinished = client;
            let mut remaining = MAX_DISCARDED_BYTES;
            while let Ok(Some(Ok(frame))) = timeout_at(self.deadline, self.body.frame()).await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = remaining.checked_sub(length) else { return };
                remaining = rest;
            }
        });
    }
}

/// Whether the body is `application/json` in UTF-8, according to one `Content-Type` header.
pub fn is_json(headers: &HeaderMap) -> bool {
    if headers.get_all(CONTENT_TYPE).iter().count() != 1 {
        return false;
    }
    let Ok(Some(content_type)) = headers.typed_try_get::<ContentType>() else { return false };
    let content_type = Mime::from(content_type);
    let is_utf8 =
        content_type.params().filter(|(name, _)| *name == mime::CHARSET).all(|(_, value)| value == mime::UTF_8);
    content_type.essence_str() == mime::APPLICATION_JSON && is_utf8
}

/// Whether the body has another content encoding than [`IDENTITY`], such as a compression.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(IDENTITY.as_bytes()))
}
