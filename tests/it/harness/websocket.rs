//! A WebSocket client for the subprotocol `graphql-transport-ws`. It builds its frames itself, so it can also send frames that
//! WebSocket forbids, and several frames in one write.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};

use super::DEADLINE;
use super::client::code_and_reason;

/// The subprotocol that the server accepts.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// The first byte of a frame (RFC 6455, section 5.2): this bit, and one of the opcodes below. A frame without the bit continues
/// in the next frame.
pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

/// The bit of the second byte that says that the payload is masked.
const MASKED: u8 = 0x80;

/// The key that clients send in the handshake, and the value that proves that the server has understood it. Both are the example
/// of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that opens a socket at a server whose host is called `here`, with these header lines.
pub fn upgrade_request(headers: &str) -> String {
    format!(
        "GET /graphql HTTP/1.1\r\nhost: here\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{headers}\r\n"
    )
}

/// The header line that offers [`SUBPROTOCOL`].
pub fn offer() -> String {
    format!("sec-websocket-protocol: {SUBPROTOCOL}\r\n")
}

/// A frame as a client must send it: masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = frame_head(first, payload.len() as u64);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The bytes of a masked frame that are before the mask.
pub fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(MASKED | length as u8),
        126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(MASKED | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}

/// The frame of a message.
pub fn text(message: &Value) -> Vec<u8> {
    frame(FIN | TEXT, message.to_string().as_bytes())
}

/// The frames of several messages.
pub fn texts(messages: &[Value]) -> Vec<u8> {
    messages.iter().flat_map(text).collect()
}

/// The first message of a client that is signed in.
pub fn init(token: &str) -> Value {
    json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } })
}

/// The message that starts an operation.
pub fn subscribe(id: &str, query: &str, variables: Value) -> Value {
    json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })
}

/// The message that stops an operation.
pub fn complete(id: &str) -> Value {
    json!({ "id": id, "type": "complete" })
}

/// A ping of the subprotocol.
pub fn ping(number: usize) -> Value {
    json!({ "type": "ping", "payload": { "number": number } })
}

/// The response to [`ping`].
pub fn pong(number: usize) -> Value {
    json!({ "type": "pong", "payload": { "number": number } })
}

/// An open socket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Number of pings that [`Socket::nothing_more`] has sent.
    pings: usize,
}

/// How the server closed a socket.
#[derive(Debug)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
    /// The messages before the close frame that had not been read.
    pub messages: Vec<Value>,
    /// Whether the connection ended in good order after the close frame.
    pub is_clean: bool,
}

/// What the server sends.
enum Received {
    Message(Value),
    Close(u16, String),
}

impl Socket {
    /// Opens a socket that offers [`SUBPROTOCOL`].
    pub async fn open(address: SocketAddr) -> Self {
        let connection = TcpStream::connect(address).await.expect("a connection");
        let (socket, selected) = Self::upgrade(connection, &offer()).await;
        assert_eq!(selected.as_deref(), Some(SUBPROTOCOL));
        socket
    }

    /// Opens a socket with these header lines. Returns it and the subprotocol that the server has selected.
    pub async fn upgrade(mut connection: TcpStream, headers: &str) -> (Self, Option<String>) {
        connection.write_all(upgrade_request(headers).as_bytes()).await.expect("sent");
        let mut received = Vec::new();
        let read_head = async {
            loop {
                if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                    return end + 4;
                }
                let read = connection.read_buf(&mut received).await.expect("a response");
                assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&received));
            }
        };
        let end = tokio::time::timeout(DEADLINE, read_head).await.expect("a response");
        let after = received.split_off(end);
        let head = String::from_utf8(received).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        assert_eq!(header("sec-websocket-accept").as_deref(), Some(ACCEPT));
        let selected = header("sec-websocket-protocol");
        let stream = WebSocketStream::from_partially_read(connection, after, Role::Client, None).await;
        (Self { stream, pings: 0 }, selected)
    }

    /// Opens a socket that is signed in.
    pub async fn acknowledged(address: SocketAddr, token: &str) -> Self {
        let mut socket = Self::open(address).await;
        socket.init(token).await;
        socket
    }

    /// Signs in.
    pub async fn init(&mut self, token: &str) {
        let acknowledgement = self.try_init(token).await.expect("an acknowledgement");
        assert_eq!(acknowledgement["type"], "connection_ack", "{acknowledgement}");
    }

    /// Sends the token. Returns the next message, or the code and the reason if the server closes the socket.
    pub async fn try_init(&mut self, token: &str) -> Result<Value, (u16, String)> {
        self.send(&init(token)).await;
        match self.received(DEADLINE).await {
            Received::Message(message) => Ok(message),
            Received::Close(code, reason) => Err((code, reason)),
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_bytes(&text(message)).await;
    }

    /// Sends bytes in one write.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(DEADLINE, self.stream.get_mut().write_all(bytes));
        sent.await.expect("the server reads").expect("sent");
    }

    /// Starts an operation.
    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.send(&subscribe(id, query, variables)).await;
    }

    /// The next message.
    pub async fn receive(&mut self) -> Value {
        self.receive_within(DEADLINE).await
    }

    /// The same with a longer deadline.
    pub async fn receive_within(&mut self, deadline: Duration) -> Value {
        match self.received(deadline).await {
            Received::Message(message) => message,
            Received::Close(code, reason) => panic!("closed with {code} {reason:?} instead of a message"),
        }
    }

    /// The payload of the next message, which is a result of the operation `id`.
    pub async fn next(&mut self, id: &str) -> Value {
        let message = self.receive().await;
        assert!(message["type"] == "next" && message["id"] == id, "{message}");
        message["payload"].clone()
    }

    /// The next event of the feed that the operation `id` subscribes to.
    pub async fn event(&mut self, id: &str) -> Value {
        let payload = self.next(id).await;
        assert_eq!(payload.get("errors"), None, "{payload}");
        payload["data"]["feed"].clone()
    }

    /// Reads the end of the operation `id`.
    pub async fn completed(&mut self, id: &str) {
        assert_eq!(self.receive().await, complete(id));
    }

    /// Code and reason of the only error that ends the operation `id`.
    pub async fn error(&mut self, id: &str) -> (String, Option<String>) {
        let message = self.receive().await;
        assert!(message["type"] == "error" && message["id"] == id, "{message}");
        code_and_reason(&json!({ "errors": message["payload"] }))
    }

    /// Checks that the server has sent nothing so far that was not read: the next message is the response to a ping.
    pub async fn nothing_more(&mut self) {
        self.pings += 1;
        self.send(&ping(self.pings)).await;
        assert_eq!(self.receive().await, pong(self.pings));
    }

    /// Waits until the server closes the socket, after no further message.
    pub async fn closed(&mut self) -> (u16, String) {
        let closed = self.rest(DEADLINE).await;
        assert_eq!(closed.messages, Vec::<Value>::new(), "{closed:?}");
        (closed.code, closed.reason)
    }

    /// Reads until the server closes the socket, and until the connection ends.
    pub async fn rest(&mut self, deadline: Duration) -> Closed {
        let mut messages = Vec::new();
        let (code, reason) = loop {
            match self.received(deadline).await {
                Received::Message(message) => messages.push(message),
                Received::Close(code, reason) => break (code, reason),
            }
        };
        // This also sends the close frame of the client.
        let end = tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("the end of the connection");
        Closed { code, reason, messages, is_clean: end.is_none() }
    }

    /// Closes the socket, as a client does that needs it no longer.
    pub async fn close(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.stream.close(Some(frame)).await.expect("sent");
    }

    /// Reads what the server sends without ever responding, until the close frame. Returns the number of the server's WebSocket
    /// pings and the code.
    pub async fn closed_in_silence(&mut self, deadline: Duration) -> (usize, u16) {
        let connection = self.stream.get_mut();
        let read = async {
            let mut pings = 0;
            loop {
                let first = connection.read_u8().await.expect("a frame");
                let length: u64 = match connection.read_u8().await.expect("a length") {
                    126 => connection.read_u16().await.expect("a length").into(),
                    127 => connection.read_u64().await.expect("a length"),
                    length => length.into(),
                };
                let mut payload = vec![0; usize::try_from(length).expect("a length")];
                connection.read_exact(&mut payload).await.expect("a payload");
                match first & 0x0f {
                    PING => pings += 1,
                    CLOSE => return (pings, u16::from_be_bytes([payload[0], payload[1]])),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(deadline, read).await.expect("a close frame")
    }

    async fn received(&mut self, deadline: Duration) -> Received {
        let receive = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => return Received::Message(checked(text.as_str())),
                    // The client has responded to the ping.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                        return Received::Close(code.into(), reason.as_str().to_owned());
                    }
                    other => panic!("neither a message nor a close frame with a code: {other:?}"),
                }
            }
        };
        tokio::time::timeout(deadline, receive).await.expect("neither a message nor a close frame")
    }
}

/// A message of the server, checked by the rules of `validateMessage` in `src/common.ts` of graphql-ws 6: its client gives up
/// after any other message.
fn checked(text: &str) -> Value {
    let message: Value = serde_json::from_str(text).expect("JSON");
    let payload = &message["payload"];
    let has_id = message["id"].as_str().is_some_and(|id| !id.is_empty());
    let is_valid = match message["type"].as_str().unwrap_or_default() {
        "connection_ack" | "ping" | "pong" => payload.is_null() || payload.is_object(),
        "next" => has_id && payload.is_object(),
        "error" => {
            let errors = payload.as_array().filter(|errors| !errors.is_empty());
            has_id && errors.is_some_and(|errors| errors.iter().all(|error| error["message"].is_string()))
        }
        "complete" => has_id,
        _ => false,
    };
    assert!(is_valid, "not a message of a server: {text}");
    message
}
