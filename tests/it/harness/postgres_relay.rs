//! Stands between the server and PostgreSQL: counts the SELECTs of users, and holds answers back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::users::Users;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::embedded_postgres;

/// A relay of PostgreSQL's protocol.
pub struct PostgresRelay {
    options: PgConnectOptions,
    selects: Arc<AtomicUsize>,
    held: watch::Sender<bool>,
}

/// A PostgreSQL of its own, a relay before it, and the users behind the relay.
pub async fn relayed() -> (EmbeddedPostgres, PostgresRelay, Users) {
    let postgres = embedded_postgres().await;
    let relay = PostgresRelay::start(postgres.url()).await;
    let users = Users::new(relay.pool());
    users.migrate().await.expect("migrations");
    (postgres, relay, users)
}

impl PostgresRelay {
    /// Relays to the PostgreSQL of `url`.
    pub async fn start(url: &str) -> Self {
        let direct: PgConnectOptions = url.parse().expect("a URL");
        let target = format!("{}:{}", direct.get_host(), direct.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let selects = Arc::new(AtomicUsize::new(0));
        let (held, _) = watch::channel(false);
        let relay = Self { options: direct.host("127.0.0.1").port(port), selects, held };
        let (selects, held) = (relay.selects.clone(), relay.held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.expect("PostgreSQL");
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (selects, held) = (selects.clone(), held.subscribe());
                tokio::spawn(async move {
                    // Either side that goes takes the other along: the engine in process serves one connection.
                    tokio::select! {
                        () = answers(from_server, to_client, held) => {}
                        () = questions(from_client, to_server, &selects) => {}
                    }
                });
            }
        });
        relay
    }

    /// One connection through the relay, made when it is first needed.
    pub fn pool(&self) -> PgPool {
        // The wait for a connection is over before a request's usual limit, as in the server.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(3));
        pool.connect_lazy_with(self.options.clone())
    }

    /// How many statements that read the users table were executed so far.
    pub fn selects(&self) -> usize {
        self.selects.load(Ordering::SeqCst)
    }

    /// Holds all answers back from now on, or lets them through again.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }
}

async fn answers(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if held.wait_for(|held| !held).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn questions(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, selects: &AtomicUsize) {
    let mut watch = Watch::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        selects.fetch_add(watch.selects_in(&buffer[..read]), Ordering::SeqCst);
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
                    let reads = text.contains("SELECT") && text.contains("public.users");
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
