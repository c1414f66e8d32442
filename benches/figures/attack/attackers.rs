//! What the attackers do.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use axum::http::Request;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use h2::client::SendRequest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::Caller;
use super::Attack;

/// The server, and a user whose token the attackers have.
pub struct Target {
    address: SocketAddr,
    user: Caller,
    /// Pages of long messages, under several aliases.
    huge: String,
    /// One page of them.
    large: Bytes,
}

/// All attacks.
pub const ATTACKS: [Attack; 9] = [
    attack("heads", 6, 1_000, "connections with 100 HTTP/2 streams that send only HEADERS", |it| {
        it.only_heads().boxed()
    }),
    attack("half-heads", 400, 10_000, "half-sent heads", |it| it.half_a_head().boxed()),
    attack("dribble", 600, 5_000, "bodies of which a byte arrives each second", |it| it.dribble().boxed()),
    attack("slow-readers", 40, 10_000, "responses of 400 KB that nobody reads", |it| it.read_nothing().boxed()),
    attack("idle", 400, 10_000, "sockets that send nothing", |it| it.send_nothing().boxed()),
    attack("huge", 1, 2_000, "queries for 14 pages of 18 × 400 KB", |it| it.huge().boxed()),
    attack("fan-out", 1, 5_000, "queries for 60 × 18 pages of messages", |it| it.fan_out().boxed()),
    attack("unknown", 2, 1_000, "queries for 32 conversations that do not exist", |it| it.unknown().boxed()),
    attack("ready", 4, 80, "requests for /health/ready", |it| it.ready().boxed()),
];

const fn attack(
    name: &'static str,
    clients: usize,
    milliseconds: u64,
    acts: &'static str,
    act: for<'a> fn(&'a Target) -> futures::future::BoxFuture<'a, anyhow::Result<()>>,
) -> Attack {
    Attack { name, clients, interval: Duration::from_millis(milliseconds), act, acts }
}

const HEAD: &str =
    "POST /graphql HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
/// Number of HTTP/2 streams of a connection.
const STREAMS: usize = 100;
/// Bytes of a response that a slow reader lets the server send.
const WINDOW: u32 = 1_000;
const PAGES: usize = 14;
const BODIES: usize = 18;
const UNKNOWN: usize = 32;

impl Target {
    /// A server with a conversation of long messages.
    pub fn new(address: SocketAddr, user: Caller, group: String) -> Self {
        let page =
            |fields: &str| format!("messages(messageGroupUuid: \"{group}\", last: 100) {{ nodes {{ {fields} }} }}");
        let mut huge = "query {".to_owned();
        for number in 0..PAGES {
            let _ = write!(huge, " p{number}: {}", page("...B"));
        }
        huge.push_str(" } fragment B on Message {");
        for number in 0..BODIES {
            let _ = write!(huge, " b{number}: body");
        }
        huge.push_str(" }");
        let large = json!({ "query": format!("{{ {} }}", page("body")) }).to_string().into();
        Self { address, user, huge, large }
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        Ok(TcpStream::connect(self.address).await?)
    }

    async fn http2(&self, window: u32) -> anyhow::Result<(SendRequest<Bytes>, Connection)> {
        let handshake = h2::client::Builder::new().initial_window_size(window).handshake(self.connect().await?).await;
        let (requests, connection) = handshake?;
        Ok((requests, Connection(tokio::spawn(async move { drop(connection.await) }))))
    }

    async fn only_heads(&self) -> anyhow::Result<()> {
        let (mut requests, _connection) = self.http2(WINDOW).await?;
        let mut held = Vec::new();
        for _ in 0..STREAMS {
            requests = requests.ready().await?;
            held.push(requests.send_request(head().body(())?, false)?);
        }
        join_all(held.iter_mut().map(|(response, _)| response)).await;
        Ok(())
    }

    async fn half_a_head(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        connection.write_all(&HEAD.as_bytes()[..HEAD.len() / 2]).await?;
        until_closed(connection).await
    }

    async fn send_nothing(&self) -> anyhow::Result<()> {
        until_closed(self.connect().await?).await
    }

    async fn dribble(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        connection.write_all(HEAD.as_bytes()).await?;
        let mut response = [0; 1];
        loop {
            connection.write_all(b"{").await?;
            let answered = tokio::time::timeout(Duration::from_secs(1), connection.read(&mut response)).await;
            if answered.is_ok() {
                return Ok(());
            }
        }
    }

    async fn read_nothing(&self) -> anyhow::Result<()> {
        let (requests, mut connection) = self.http2(WINDOW).await?;
        let request = head().header("authorization", format!("Bearer {}", self.user.token)).body(())?;
        let (response, mut body) = requests.ready().await?.send_request(request, false)?;
        body.send_data(self.large.clone(), true)?;
        let _unread = response.await?;
        (&mut connection.0).await?;
        Ok(())
    }

    /// Reads the response and does nothing with it.
    async fn query(&self, query: &str) -> anyhow::Result<()> {
        let request = self.user.http.post(&self.user.url).bearer_auth(&self.user.token);
        let mut response = request.json(&json!({ "query": query })).send().await?;
        while response.chunk().await?.is_some() {}
        Ok(())
    }

    async fn huge(&self) -> anyhow::Result<()> {
        self.query(&self.huge).await
    }

    async fn fan_out(&self) -> anyhow::Result<()> {
        let mut fields = String::new();
        for number in 0..BODIES {
            let _ = write!(fields, " m{number}: messages(last: 1) {{ nodes {{ uuid }} }}");
        }
        let query = format!("{{ messageGroups(first: 60) {{ nodes {{ {fields} }} }} }}");
        self.query(&query).await
    }

    async fn unknown(&self) -> anyhow::Result<()> {
        let mut query = "{".to_owned();
        for number in 0..UNKNOWN {
            let _ = write!(query, " g{number}: messageGroup(uuid: \"{}\") {{ uuid }}", Uuid::new_v4());
        }
        query.push_str(" }");
        self.query(&query).await
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let response = self.user.http.get(format!("http://{}/health/ready", self.address)).send().await?;
        if !response.status().is_success() {
            bail!("{}", response.status());
        }
        Ok(())
    }
}

/// The task of an HTTP/2 connection, which ends with this value.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn head() -> axum::http::request::Builder {
    Request::post("http://here/graphql").header("content-type", "application/json")
}

async fn until_closed(mut connection: TcpStream) -> anyhow::Result<()> {
    connection.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
