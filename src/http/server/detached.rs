//! Takes over HTTP/1.1 connections with long-lived responses from hyper.
//!
//! hyper keeps two buffers of 8 KB and the state of a dispatcher for each connection, even while the connection waits for
//! the next event of a subscription. Most connections with subscriptions wait most of the time. So the server takes over
//! such a connection when the head of the response is ready, and writes the response itself. At that time the request has
//! been read completely. No further request follows, because the server closes the connection after the response.
//!
//! hyper returns a connection if its service fails. So the service stores the response in a [`Detachment`] and fails with
//! [`Detached`].

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Response, Version};
use bytes::Buf;
use chrono::Utc;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::Connection;
use super::io::Watched;
use super::unread::ResponseBody;

/// Extension that marks a response as long-lived: it stays open while there is nothing to send.
#[derive(Clone, Copy, Debug)]
pub struct LongLived;

/// The response whose connection is taken over. Empty until then.
#[derive(Clone, Default)]
pub struct Detachment(Arc<Mutex<Option<Box<Response<ResponseBody>>>>>);

/// Error of the service that makes hyper return the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection was taken over")]
pub struct Detached;

impl Detachment {
    /// Waits for `response`, which answers a request of HTTP `version`. If it is long-lived, stores it and fails.
    pub async fn detach_long_lived(
        self,
        connection: Arc<Connection>,
        version: Version,
        response: impl Future<Output = Result<Response<ResponseBody>, Infallible>>,
    ) -> Result<Response<ResponseBody>, Detached> {
        let Ok(response) = response.await;
        // If the client accepts no bytes, hyper still holds bytes of an earlier response, which must be written first.
        let is_detached = response.extensions().get::<LongLived>().is_some()
            && version == Version::HTTP_11
            && !connection.is_blocked();
        if !is_detached {
            return Ok(response);
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(response));
        Err(Detached)
    }

    /// Takes the stored response, if there is one.
    pub fn take(&self) -> Option<Box<Response<ResponseBody>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes a response in chunks, and then closes the connection.
pub async fn serve(mut stream: Watched, response: Box<Response<ResponseBody>>, connection: &Connection) {
    tokio::select! {
        biased;
        () = connection.closed() => {}
        // Errors of connections are not logged, because clients and networks cause them.
        _ = write(&mut stream, response) => {}
    }
}

async fn write(stream: &mut Watched, response: Box<Response<ResponseBody>>) -> io::Result<()> {
    let (head, mut body) = response.into_parts();
    stream.write_all(&encode(head)).await?;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            end = until_closed(stream) => return end,
        };
        let data = match frame {
            None => break,
            // The last chunk is missing then, so the client knows that the response is incomplete.
            Some(Err(_)) => return Ok(()),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if data.has_remaining() {
            let length = Bytes::from(format!("{:x}\r\n", data.remaining()));
            stream.write_all_buf(&mut length.chain(data).chain(&b"\r\n"[..])).await?;
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

/// Encodes the head of a response.
fn encode(Parts { status, mut headers, .. }: Parts) -> Vec<u8> {
    let date = Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::try_from(date) {
        headers.entry(DATE).or_insert(date);
    }
    headers.remove(CONTENT_LENGTH);
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads and discards what the client sends, until it closes the connection.
async fn until_closed(stream: &mut Watched) -> io::Result<()> {
    let mut discarded = [0; 64];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}
