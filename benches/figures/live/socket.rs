//! A client of the subscription `feed` that costs little: a socket, and a parser of only what the measurements need.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const FEED: &str = "subscription ($after: String) { feed(after: $after) { __typename cursor ... on MessageAdded { message \
                    { uuid body } } } }";
/// How long a client waits for the response to its request.
const PATIENCE: Duration = Duration::from_secs(60);
/// Size of the buffer of a client in bytes. It grows for longer events.
const BUFFER: usize = 512;
/// Close frames, pings and pongs.
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// How a client receives its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Server-sent events over HTTP/1.1.
    EventStream,
    /// WebSocket with the subprotocol `graphql-transport-ws`.
    WebSocket,
}

impl Protocol {
    /// Both protocols, with their names in the output.
    pub const ALL: [(Self, &str); 2] = [(Self::EventStream, "server-sent events"), (Self::WebSocket, "WebSocket")];

    /// One protocol for even numbers, the other one for odd numbers.
    pub fn of(number: usize) -> Self {
        Self::ALL[number % 2].0
    }
}

/// An event of the feed.
#[derive(Debug)]
pub struct Event {
    pub cursor: String,
    pub kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// `FeedReady`.
    Ready,
    /// `MessageAdded`, with the number that is in the body of the message.
    Message(u32),
}

/// The body of a message. Its number identifies it.
pub fn body(number: u32, length: usize) -> String {
    let text = "A message of a length that people write to each other on an ordinary day. ";
    format!("#{number:08} {}", text.repeat(length / text.len() + 1)).chars().take(length).collect()
}

/// A socket that has subscribed.
pub struct Socket {
    stream: TcpStream,
    protocol: Protocol,
    /// What has arrived, and the number of its bytes that were read.
    buffer: Vec<u8>,
    read: usize,
}

impl Socket {
    /// Connects and subscribes. `receive_buffer` is the size of the receive buffer of the operating system.
    pub async fn open(
        protocol: Protocol,
        address: SocketAddr,
        token: &str,
        after: Option<&str>,
        receive_buffer: Option<u32>,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self { stream, protocol, buffer: Vec::with_capacity(BUFFER), read: 0 };
        timeout(PATIENCE, socket.subscribe(address, token, after)).await.context("no response")??;
        Ok(socket)
    }

    async fn subscribe(&mut self, address: SocketAddr, token: &str, after: Option<&str>) -> anyhow::Result<()> {
        let operation = json!({ "query": FEED, "variables": { "after": after } });
        match self.protocol {
            Protocol::EventStream => {
                let body = operation.to_string();
                let head = format!(
                    "POST /graphql HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
                     accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                self.stream.write_all((head + &body).as_bytes()).await?;
                self.head("HTTP/1.1 200 ").await
            }
            Protocol::WebSocket => {
                let head = format!(
                    "GET /graphql HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: {}\r\n\
                     sec-websocket-protocol: graphql-transport-ws\r\n\r\n",
                    base64::engine::general_purpose::STANDARD.encode([7; 16])
                );
                self.stream.write_all(head.as_bytes()).await?;
                self.head("HTTP/1.1 101 ").await?;
                let payload = json!({ "Authorization": format!("Bearer {token}") });
                self.send(1, json!({ "type": "connection_init", "payload": payload }).to_string().as_bytes()).await?;
                let acknowledged = self.text().await?.context("closed")?;
                ensure!(acknowledged.contains("connection_ack"), "{acknowledged}");
                let subscribe = json!({ "type": "subscribe", "id": "1", "payload": operation });
                self.send(1, subscribe.to_string().as_bytes()).await
            }
        }
    }

    /// The next event. `None` if the server has closed the connection.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        match self.text().await? {
            Some(text) => event(&text).with_context(|| format!("not an event: {text}")).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the `FeedReady`. Returns its cursor.
    pub async fn until_ready(&mut self) -> anyhow::Result<String> {
        loop {
            let Event { cursor, kind } = self.next().await?.context("closed")?;
            if kind == Kind::Ready {
                return Ok(cursor);
            }
        }
    }

    /// Reads the head of the response, which must begin with `status`.
    async fn head(&mut self, status: &str) -> anyhow::Result<()> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                self.read = end + 4;
                let head = String::from_utf8_lossy(&self.buffer);
                ensure!(head.starts_with(status), "{head}");
                return Ok(());
            }
            ensure!(self.fill().await?, "closed");
        }
    }

    /// Sends a frame. Its mask is zero, which changes nothing.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        const MASKED: u8 = 0x80;
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(length @ 0..=125) => frame.push(MASKED | length),
            _ => {
                frame.push(MASKED | 126);
                frame.extend(u16::try_from(payload.len())?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    /// The text of the next event or message.
    async fn text(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            let next = match self.protocol {
                Protocol::EventStream => self.block(),
                Protocol::WebSocket => self.frame()?,
            };
            match next {
                Next::Text(text) => return Ok(Some(text)),
                Next::Ping(payload) => self.send(PONG, &payload).await?,
                Next::Nothing => {}
                Next::Closed => return Ok(None),
                Next::Incomplete => {
                    if !self.fill().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next block of an event stream. The chunks of the body need no attention: each event is a chunk of its own, and the
    /// lines around it are neither `id` nor `data`.
    fn block(&mut self) -> Next {
        let rest = &self.buffer[self.read..];
        let Some(end) = find(rest, b"\n\n") else { return Next::Incomplete };
        let block = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.read += end + 2;
        if block.contains("\ndata: ") { Next::Text(block) } else { Next::Nothing }
    }

    fn frame(&mut self) -> anyhow::Result<Next> {
        let rest = &self.buffer[self.read..];
        let (head, length) = match *rest {
            [_, length @ 0..=125, ..] => (2, usize::from(length)),
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, 127..=255, ..] => bail!("a frame that is too long"),
            _ => return Ok(Next::Incomplete),
        };
        let Some(payload) = rest.get(head..head + length) else { return Ok(Next::Incomplete) };
        let next = match rest[0] & 0x0f {
            1 => Next::Text(String::from_utf8_lossy(payload).into_owned()),
            PING => Next::Ping(payload.to_vec()),
            CLOSE => Next::Closed,
            _ => Next::Nothing,
        };
        self.read += head + length;
        Ok(next)
    }

    /// Reads more. Returns `false` at the end of the stream.
    async fn fill(&mut self) -> anyhow::Result<bool> {
        self.buffer.drain(..self.read);
        self.read = 0;
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

enum Next {
    Text(String),
    Ping(Vec<u8>),
    Nothing,
    Closed,
    Incomplete,
}

fn event(text: &str) -> Option<Event> {
    let cursor = value(text, "cursor")?.to_owned();
    let kind = match value(text, "__typename")? {
        "FeedReady" => Kind::Ready,
        "MessageAdded" => Kind::Message(value(text, "body")?.get(1..9)?.parse().ok()?),
        _ => return None,
    };
    Some(Event { cursor, kind })
}

/// The value of a string without quotes in it.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
