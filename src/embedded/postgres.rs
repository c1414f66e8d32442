//! PostgreSQL in the process. It listens on a loopback port.
//!
//! The engine serves one connection at a time: a second connection waits until the first one is closed. The pool has one
//! connection and closes it after a short idle time, so that `psql` can connect.
//!
//! The engine's server ends permanently if a connection is reset or violates the protocol, and sometimes under load.
//! Therefore clients connect to a relay. The relay closes every connection to the engine properly, and starts the engine
//! again with the same data if it has ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use pglite_oxide::PgliteServer;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// A running engine.
pub struct EmbeddedPostgres {
    engine: Arc<Engine>,
    url: String,
    stop: CancellationToken,
    relays: TaskTracker,
}

/// Time after which the pool closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time to wait for the connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time to wait for the end of the connections, and after that for the end of the engine.
const END: Duration = Duration::from_secs(2);

impl EmbeddedPostgres {
    /// Serves the cluster at `path` on `listener`, and creates it if it does not exist. Without a path, the cluster is
    /// temporary.
    pub async fn start(path: Option<PathBuf>, listener: TcpListener) -> anyhow::Result<Self> {
        let is_temporary = path.is_none();
        let path = path.unwrap_or_else(|| std::env::temp_dir().join(format!("cruddur-postgres-{}", Uuid::new_v4())));
        let server = start(&path).await?;
        let address = listener.local_addr()?;
        let inner = server.tcp_addr().context("the embedded PostgreSQL has no port")?;
        let url = server.database_url().replace(&inner.to_string(), &address.to_string());
        let engine = Arc::new(Engine { path, is_temporary, server: Mutex::new(Some(server)) });
        let (stop, relays) = (CancellationToken::new(), TaskTracker::new());
        let (shared, stopped, tracker) = (engine.clone(), stop.clone(), relays.clone());
        relays.spawn(async move {
            while let Some(Ok((client, _))) = stopped.run_until_cancelled(listener.accept()).await {
                tracker.spawn(relay(shared.clone(), client, stopped.clone()));
            }
        });
        Ok(Self { engine, url, stop, relays })
    }

    /// URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns a pool with the settings that the engine requires: see the documentation of this module.
    pub fn pool(&self) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(IDLE_TIMEOUT)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false);
        Ok(options.connect_lazy(&self.url)?)
    }

    /// Stops the engine and waits for its end, so that committed data is on disk. Waits at most [`END`] for the connections
    /// and for the engine each.
    pub async fn stop(self) {
        self.stop.cancel();
        self.relays.close();
        let _ = tokio::time::timeout(END, self.relays.wait()).await;
        let server = self.engine.server.lock().await.take();
        let stopped = tokio::task::spawn_blocking(move || server.map(PgliteServer::shutdown));
        let _ = tokio::time::timeout(END, stopped).await;
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        self.stop.cancel();
        self.relays.close();
    }
}

struct Engine {
    path: PathBuf,
    is_temporary: bool,
    /// `None` after the engine was stopped, or while it cannot be started again.
    server: Mutex<Option<PgliteServer>>,
}

impl Engine {
    /// Connects to the engine. Starts the engine again if it has ended.
    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let mut server = self.server.lock().await;
        let address = server.as_ref().and_then(PgliteServer::tcp_addr);
        match connect(address).await {
            Ok(connection) => return Ok(connection),
            Err(error) => tracing::warn!(%error, "the embedded PostgreSQL ended, starting it again"),
        }
        if let Some(ended) = server.take() {
            let end = tokio::task::spawn_blocking(move || ended.shutdown());
            if let Ok(Ok(Err(error))) = tokio::time::timeout(END, end).await {
                tracing::warn!(error = format!("{error:#}"), "the embedded PostgreSQL ended with an error");
            }
        }
        let started = server.insert(start(&self.path).await?);
        Ok(connect(started.tcp_addr()).await?)
    }
}

impl Drop for Engine {
    /// Stops the engine in a separate thread, because stopping blocks until the engine's thread has ended, and a thread of the
    /// runtime must not block.
    fn drop(&mut self) {
        let server = self.server.get_mut().take();
        let (path, is_temporary) = (self.path.clone(), self.is_temporary);
        std::thread::spawn(move || {
            drop(server);
            if is_temporary {
                let _ = std::fs::remove_dir_all(path);
            }
        });
    }
}

async fn start(path: &Path) -> anyhow::Result<PgliteServer> {
    let builder = PgliteServer::builder().tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).path(path);
    let server =
        tokio::task::spawn_blocking(move || builder.start()).await.context("starting the embedded PostgreSQL")?;
    server.map_err(|error| anyhow!("the embedded PostgreSQL cannot start: {error:#}"))
}

async fn connect(address: Option<SocketAddr>) -> io::Result<TcpStream> {
    match address {
        Some(address) => TcpStream::connect(address).await,
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// Relays the bytes between a client and the engine. Closes the connection to the engine properly after the engine's last
/// response, even if the client disconnects.
async fn relay(engine: Arc<Engine>, client: TcpStream, stop: CancellationToken) {
    let server = match engine.connect().await {
        Ok(server) => server,
        Err(error) => {
            return tracing::error!(error = format!("{error:#}"), "connecting to the embedded PostgreSQL failed");
        }
    };
    // The protocol consists of small messages, and each side waits for those of the other.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let questions = async {
        let _ = stop.run_until_cancelled(copy(&mut from_client, &mut to_server)).await;
        let _ = to_server.shutdown().await;
    };
    let answers = async {
        if copy(&mut from_server, &mut to_client).await.is_err() {
            let _ = copy(&mut from_server, &mut sink()).await;
        }
        let _ = to_client.shutdown().await;
    };
    tokio::join!(questions, answers);
}
