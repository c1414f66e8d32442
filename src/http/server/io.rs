//! The TCP stream of a connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connections::Registered;

/// A stream that notifies its [`Connection`](super::connection::Connection) when bytes arrive, and when the client stops or
/// starts accepting bytes.
///
/// While the client accepts no bytes, the server does not read from it either. Otherwise, a client that sends requests
/// and does not read the responses could make hyper's buffer of response heads grow without limit.
pub struct Watched {
    stream: TcpStream,
    registered: Registered,
    is_blocked: bool,
    /// The task that waits to read until the client accepts bytes.
    reader: Option<Waker>,
}

impl Watched {
    /// Creates the stream of a connection. The connection stays registered until the stream is dropped.
    pub fn new(stream: TcpStream, registered: Registered) -> Self {
        Self { stream, registered, is_blocked: false, reader: None }
    }

    fn observed<T>(&mut self, written: Poll<T>) -> Poll<T> {
        let is_blocked = written.is_pending();
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            self.registered.connection().blocked(is_blocked);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_blocked {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let received = buffer.filled().len() - before;
        if received > 0 {
            this.registered.connection().received(received);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.observed(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.observed(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
