//! DynamoDB in the process. It is served on a loopback port, so the real SDK is used.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running engine.
pub struct EmbeddedDynamoDb {
    url: String,
    stop: CancellationToken,
    server: JoinHandle<Result<(), String>>,
}

impl EmbeddedDynamoDb {
    /// Serves the database at `path`, or one in memory, on `listener`.
    pub fn start(path: Option<&Path>, listener: TcpListener) -> anyhow::Result<Self> {
        let database = match path {
            Some(path) => {
                Database::new(path.to_str().context("the name of the data folder must be UTF-8 (--data-dir)")?)
            }
            None => Database::memory(),
        };
        let database = database.map_err(|error| anyhow!("the embedded DynamoDB cannot open its database: {error}"))?;
        let address: SocketAddr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let server =
            tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, stop.clone().cancelled_owned()));
        Ok(Self { url: format!("http://{address}"), stop, server })
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.server).await;
    }
}
