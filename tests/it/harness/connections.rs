//! Clients that misbehave: raw connections, and HTTP/2 connections that read and send what the test says.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use super::DEADLINE;

pub const QUERY: &str = "{\"query\":\"{ __typename }\"}";
/// Its response has more than 30,000 bytes.
pub const LONG_QUERY: &str = "{\"query\":\"{ a: __schema { ...S } b: __schema { ...S } c: __schema { ...S } d: __schema { ...S } } \
    fragment S on __Schema { types { name description fields { name description } } }\"}";

/// What a slow client sends of the body of [`QUERY`], and the rest.
pub const PARTS: (&str, &str) = QUERY.split_at(QUERY.len() - 2);

/// The head of a request with the body [`QUERY`].
fn head(more: &str) -> String {
    let head = "POST /graphql HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n{more}\r\n", QUERY.len())
}

/// A raw connection.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    /// A connection from another IP address of this machine.
    pub async fn connect_from(from: &str, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from: IpAddr = from.parse().expect("an address");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        Self(socket.connect(to).await.expect("a connection"))
    }

    /// A connection that has sent `text`.
    pub async fn sent(address: SocketAddr, text: &str) -> Self {
        let mut connection = Self::connect(address).await;
        connection.send(text).await;
        connection
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Status and body of the next response. `None` if the server has closed the connection.
    pub async fn response(&mut self) -> Option<(u16, String)> {
        let mut received = Vec::new();
        let read = async {
            loop {
                if !matches!(self.0.read_buf(&mut received).await, Ok(1..)) {
                    return None;
                }
                let text = String::from_utf8_lossy(&received).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                    return Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()));
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("neither a response nor an end")
    }

    /// The status of a valid request.
    pub async fn status(&mut self) -> Option<u16> {
        // The server may have closed the connection.
        let _ = self.0.write_all((head("") + QUERY).as_bytes()).await;
        Some(self.response().await?.0)
    }

    /// Sends a request without the end of its body. The server is receiving it.
    pub async fn begin(&mut self) {
        self.send(&head("expect: 100-continue\r\n")).await;
        assert_eq!(self.response().await, Some((100, String::new())));
        self.send(PARTS.0).await;
    }
}

/// An HTTP/2 connection.
pub struct Http2 {
    pub requests: SendRequest<Bytes>,
    /// Ends with the connection.
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    /// A connection whose client lets the server send `window` bytes of each response.
    pub async fn connect(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let handshake = h2::client::Builder::new().initial_window_size(window).handshake(stream).await;
        let (requests, connection) = handshake.expect("HTTP/2");
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// Sends the head of a request.
    pub async fn send_head(&mut self) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = self.requests.clone().ready().await.expect("an open connection");
        let request = axum::http::Request::post("http://here/graphql").header("content-type", "application/json");
        requests.send_request(request.body(()).expect("a request"), false).expect("sent")
    }

    /// Sends a request and waits for the head of its response. The client reads nothing of the body.
    pub async fn unread(&mut self, body: &'static str) -> RecvStream {
        let (response, mut stream) = self.send_head().await;
        stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("sent");
        let response = tokio::time::timeout(DEADLINE, response).await.expect("a response").expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// Waits until the connection is closed.
    pub async fn closed(self) -> Result<(), h2::Error> {
        tokio::time::timeout(DEADLINE, self.connection).await.expect("it is closed").expect("a task")
    }
}

/// Reads the rest of a response.
pub async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        all.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len())?;
    }
    Ok(all)
}
