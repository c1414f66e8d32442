//! Reading the body of a request, and what is left of one that was refused.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, timeout_at};

/// How long a client may take to send it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much of what nobody wants is taken all the same.
const LONGEST_REST: usize = 4 * 1024 * 1024;

/// The body of one request.
pub struct Incoming {
    body: Body,
    deadline: Instant,
    /// Whether any of it was asked for.
    begun: bool,
    whole: bool,
}

/// Why a body cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than it may be.
    TooLong,
    /// Its sender took too long.
    Late,
    /// Its sender broke off or broke the protocol.
    Cut,
}

impl Incoming {
    /// The body of a request that has just begun.
    pub fn new(body: Body) -> Self {
        Self { body, deadline: Instant::now() + TIMEOUT, begun: false, whole: false }
    }

    /// All of it, when that is no more than `limit` bytes.
    pub async fn read(&mut self, limit: usize) -> Result<Bytes, Unread> {
        // One that says so itself is not read at all.
        if self.body.size_hint().lower() > limit as u64 {
            return Err(Unread::TooLong);
        }
        self.begun = true;
        let whole = Limited::new(&mut self.body, limit).collect();
        match timeout_at(self.deadline, whole).await {
            Err(_) => Err(Unread::Late),
            Ok(Ok(body)) => {
                self.whole = true;
                Ok(body.to_bytes())
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Unread::TooLong),
            Ok(Err(_)) => Err(Unread::Cut),
        }
    }

    /// Takes what is still to come and drops it beside the answer, up to a limit of length and of time. A connection that
    /// is closed over bytes which nobody read is reset, and its client then sees a broken pipe instead of the answer
    /// (RFC 9112, 9.6).
    pub fn drop_rest(mut self, headers: &HeaderMap) {
        // Who waits to be asked for the body has not sent it; asking now would make them.
        let unsent = !self.begun && headers.contains_key(EXPECT);
        if unsent || self.whole || self.body.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            let mut left = LONGEST_REST;
            while let Ok(Some(Ok(frame))) = timeout_at(self.deadline, self.body.frame()).await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
                left = rest;
            }
        });
    }
}
