//! Splits the body of a response into parts, so that the server knows which parts the client has not read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::connection::Unfinished;

/// Maximum size of a part in bytes. The server closes the connection if the client does not read a part within the write
/// timeout.
const PART_BYTES: usize = 16 * 1024;

/// The body of a response. Its request is not finished until the server has written all of it.
pub struct ResponseBody {
    body: Body,
    /// The bytes that the server has taken from `body` and not written.
    rest: Bytes,
    request: Unfinished,
}

/// A part of a response. hyper drops the part after it has written it.
struct Part {
    bytes: Bytes,
    request: Unfinished,
}

impl ResponseBody {
    /// Creates the body of the response to `request`.
    pub fn new(body: Body, request: Unfinished) -> Self {
        Self { body, rest: Bytes::new(), request }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let mut taken = 0;
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => this.rest = bytes,
                Ok(empty) => return Poll::Ready(Some(Ok(Frame::data(empty)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
            taken = this.rest.len();
        }
        let bytes = this.rest.split_to(PART_BYTES.min(this.rest.len()));
        this.request.begin_part(taken, bytes.len());
        let part = Part { bytes, request: this.request.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        match hint.exact() {
            Some(exact) => SizeHint::with_exact(exact + rest),
            None => {
                hint.set_lower(hint.lower() + rest);
                hint
            }
        }
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.request.end_part();
    }
}
