//! Stands between the server and PostgreSQL: counts the SELECTs of users, holds answers back, and breaks connections silently.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cruddur_messaging::app::pool;
use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::users::Users;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{embedded_postgres, eventually};

/// The limit of a statement that PostgreSQL is told.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A relay of PostgreSQL's protocol.
pub struct PostgresRelay {
    options: PgConnectOptions,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    selects: AtomicUsize,
    holds_next_select: AtomicBool,
    held: watch::Sender<bool>,
    silence: watch::Sender<Silence>,
}

#[derive(Default)]
struct Silence {
    now: bool,
    /// How often it has begun. A connection that began before the last time is silent for good.
    begun: usize,
}

/// A PostgreSQL of its own, a relay before it, and the users behind the relay.
pub async fn relayed() -> (EmbeddedPostgres, PostgresRelay, Users) {
    let postgres = embedded_postgres().await;
    let direct = Users::new(postgres.pool().expect("a pool"));
    direct.migrate().await.expect("migrations");
    direct.close().await;
    let relay = PostgresRelay::start(postgres.url()).await;
    let users = Users::new(relay.pool());
    // On a busy machine, the first connection can take longer than its time limit.
    eventually("a connection", || async { users.ping().await.ok() }).await;
    (postgres, relay, users)
}

impl PostgresRelay {
    /// Relays to the PostgreSQL of `url`.
    pub async fn start(url: &str) -> Self {
        let direct: PgConnectOptions = url.parse().expect("a URL");
        let target = format!("{}:{}", direct.get_host(), direct.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let relay = Self { options: direct.host("127.0.0.1").port(port), state: state.clone() };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut silence = state.silence.subscribe();
                let begun = silence.borrow().begun;
                if silence.borrow().now {
                    tokio::spawn(async move { copy(&mut client, &mut sink()).await });
                    continue;
                }
                let server = TcpStream::connect(&target).await.expect("PostgreSQL");
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (mut from_client, mut to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let state = state.clone();
                tokio::spawn(async move {
                    // Either side that goes takes the other along: the engine in process serves one connection.
                    tokio::select! {
                        () = answers(from_server, &mut to_client, state.held.subscribe()) => return,
                        () = questions(&mut from_client, to_server, &state) => return,
                        _ = silence.wait_for(|silence| silence.begun > begun) => {}
                    }
                    let _ = copy(&mut from_client, &mut sink()).await;
                    drop(to_client);
                });
            }
        });
        relay
    }

    /// The URL of the relay.
    pub fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// One connection through the relay, made when it is first needed.
    pub fn pool(&self) -> PgPool {
        pool(&self.url(), 1, Some(STATEMENT_TIMEOUT)).expect("a pool")
    }

    /// How many statements that read the users table, or send a notification, were executed so far.
    pub fn selects(&self) -> usize {
        self.state.selects.load(Ordering::SeqCst)
    }

    /// Forwards nothing from now on, accepts connections and responds to none, or forwards new connections again. Those of
    /// before stay open and silent, as after a failure of the network that no side is told of.
    pub fn silence(&self, silent: bool) {
        self.state.silence.send_modify(|it| *it = Silence { now: silent, begun: it.begun + usize::from(silent) });
    }

    /// Holds all answers back as soon as the server has to respond to one of them.
    pub fn hold_at_next_select(&self) {
        self.state.holds_next_select.store(true, Ordering::SeqCst);
    }

    /// Holds all answers back from now on, or lets them through again.
    pub fn hold(&self, held: bool) {
        self.state.held.send_replace(held);
    }
}

async fn answers(
    mut from: impl AsyncReadExt + Unpin,
    to: &mut (impl AsyncWriteExt + Unpin),
    mut held: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn questions(from: &mut (impl AsyncReadExt + Unpin), mut to: impl AsyncWriteExt + Unpin, state: &State) {
    let mut watch = Watch::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let selects = watch.selects_in(&buffer[..read]);
        if selects > 0 && state.holds_next_select.swap(false, Ordering::SeqCst) {
            state.held.send_replace(true);
        }
        state.selects.fetch_add(selects, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Follows the messages of one connection. Source: PostgreSQL documentation, "Message Formats".
#[derive(Default)]
struct Watch {
    pending: Vec<u8>,
    started: bool,
    statements: HashMap<Vec<u8>, bool>,
}

impl Watch {
    fn selects_in(&mut self, bytes: &[u8]) -> usize {
        self.pending.extend_from_slice(bytes);
        let mut found = 0;
        loop {
            let header = if self.started { 5 } else { 4 };
            let Some(length) = self.pending.get(header - 4..header) else { return found };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + header - 4;
            if self.pending.len() < length {
                return found;
            }
            let message: Vec<u8> = self.pending.drain(..length).collect();
            let mut fields = message[header..].split(|byte| *byte == 0);
            match (self.started, message[0]) {
                (true, b'P') => {
                    let (name, text) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
                    let text = String::from_utf8_lossy(text);
                    let reads =
                        text.contains("SELECT") && ["public.users", "pg_notify"].iter().any(|name| text.contains(name));
                    self.statements.insert(name.to_vec(), reads);
                }
                (true, b'B') => {
                    let statement = fields.nth(1).unwrap_or_default();
                    found += usize::from(self.statements.get(statement) == Some(&true));
                }
                _ => {}
            }
            self.started = true;
        }
    }
}
