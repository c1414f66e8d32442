//! Sends messages at fixed times, so that a slow response does not reduce the load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::socket::body;
use super::world::Conversations;

/// Number of connections.
const CONNECTIONS: usize = 64;
/// Length of a message.
const LENGTH: usize = 80;
const PATIENCE: Duration = Duration::from_secs(20);
const SEND: &str = "mutation ($group: UUID!, $body: String!) { createMessage(input: { to: { messageGroupUuid: $group }, \
                    body: $body }) { message { uuid } } }";

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub number: u32,
    /// How long the server took to answer, from the time at which the message was due.
    pub took: Duration,
    /// When the answer arrived.
    pub answered: Instant,
}

/// Sends messages with these numbers, in this order. Each conversation gets one in turn.
pub async fn send(
    conversations: &Arc<Conversations>,
    address: SocketAddr,
    numbers: impl IntoIterator<Item = u32>,
    per_second: f64,
) -> anyhow::Result<Vec<Sent>> {
    let begin = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    let numbers: Arc<[u32]> = numbers.into_iter().collect();
    for turn in 0..CONNECTIONS.min(numbers.len()) {
        let (conversations, numbers) = (conversations.clone(), numbers.clone());
        tasks.spawn(async move {
            let mut connection = Connection { stream: TcpStream::connect(address).await?, buffer: Vec::new() };
            connection.stream.set_nodelay(true)?;
            let mut sent = Vec::new();
            for (index, number) in numbers.iter().copied().enumerate().skip(turn).step_by(CONNECTIONS) {
                let due = begin + Duration::from_secs_f64(index as f64 / per_second);
                sleep_until(due).await;
                let (group, author) = conversations.of_message(number);
                let variables = json!({ "group": group.to_string(), "body": body(number, LENGTH) });
                let request = json!({ "query": SEND, "variables": variables }).to_string();
                let response = connection.post(&conversations.people[author].token, &request);
                let response = timeout(PATIENCE, response).await.context("no response")??;
                ensure!(!response.contains("\"errors\""), "{response}");
                sent.push(Sent { number, took: due.elapsed(), answered: Instant::now() });
            }
            anyhow::Ok(sent)
        });
    }
    let mut sent = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        sent.extend(ended??);
    }
    sent.sort_by_key(|sent| sent.number);
    Ok(sent)
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and returns the body of the response.
    async fn post(&mut self, token: &str, body: &str) -> anyhow::Result<String> {
        let head = format!(
            "POST /graphql HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {token}\r\naccept: application/json\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + body).as_bytes()).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "closed");
            let text = String::from_utf8_lossy(&self.buffer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_ascii_lowercase();
            let length =
                length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).context("length")?;
            if body.len() >= length.parse()? {
                return Ok(body.to_owned());
            }
        }
    }
}
