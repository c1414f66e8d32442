//! PostgreSQL in process, served on a loopback port.
//!
//! It serves one connection at a time: a second one waits until the first is closed. The pool over it has one connection
//! and closes it after a moment's idleness, which lets `psql` in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use pglite_oxide::PgliteServer;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// A running engine.
pub struct EmbeddedPostgres {
    /// Always there until it is stopped or dropped.
    server: Option<PgliteServer>,
    url: String,
}

const IDLE_TIMEOUT: Duration = Duration::from_millis(500);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl EmbeddedPostgres {
    /// Serves the cluster at `path`, made where there is none, or a temporary one, at `address`.
    pub async fn start(path: Option<PathBuf>, address: SocketAddr) -> anyhow::Result<Self> {
        let start = move || {
            let builder = PgliteServer::builder().tcp(address);
            match path {
                Some(path) => builder.path(path),
                None => builder.temporary(),
            }
            .start()
        };
        let server = tokio::task::spawn_blocking(start).await.context("starting the embedded PostgreSQL")?;
        let server = server.map_err(|error| anyhow!("the embedded PostgreSQL cannot start: {error:#}"))?;
        let url = server.database_url();
        Ok(Self { server: Some(server), url })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A pool that suits it.
    pub fn pool(&self) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(IDLE_TIMEOUT)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false);
        Ok(options.connect_lazy(&self.url)?)
    }

    /// Stops it and waits until it has; connections must be closed before.
    pub async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            let stopped = tokio::task::spawn_blocking(move || server.shutdown());
            // A connection that somebody else keeps open would hold it; what it has committed is on disk.
            let _ = tokio::time::timeout(Duration::from_secs(2), stopped).await;
        }
    }
}

impl Drop for EmbeddedPostgres {
    /// Stopping waits for open connections, which whoever drops it may still hold.
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            std::thread::spawn(move || drop(server));
        }
    }
}
