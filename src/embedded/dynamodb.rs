//! DynamoDB in the process. It listens on a loopback port, so that the program uses it with the real SDK.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::{Database, ImportOptions};
use rusqlite::Connection;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Item = HashMap<String, AttributeValue>;

/// The engine looks for the last record of a stream at each write, and for the next records at each `GetRecords`. It does so
/// without an index, so both would become slower with each message. Source:
/// <https://github.com/nubo-db/dynoxide/blob/v3.2.0/src/storage.rs#L1988>.
const INDEX_STREAM_RECORDS: &str = "
    CREATE INDEX IF NOT EXISTS cruddur_records_by_number
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS cruddur_records_of_shard
        ON _stream_records (table_name, shard_id, CAST(sequence_number AS INTEGER));";

/// A running engine.
pub struct EmbeddedDynamoDb {
    url: String,
    database: Database,
    stop: CancellationToken,
    server: JoinHandle<Result<(), String>>,
}

impl EmbeddedDynamoDb {
    /// Serves the database at `path` on `listener`. Without a path, the database is in memory.
    pub fn start(path: Option<&Path>, listener: TcpListener) -> anyhow::Result<Self> {
        let database = match path {
            Some(path) => {
                let file = path.to_str().context("the name of the data folder must be UTF-8 (--data-dir)")?;
                Database::new(file).inspect(|_| index_stream_records(path))
            }
            None => Database::memory(),
        };
        let database = database.map_err(|error| anyhow!("the embedded DynamoDB cannot open its database: {error}"))?;
        let address: SocketAddr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            database.clone(),
            stop.clone().cancelled_owned(),
        ));
        Ok(Self { url: format!("http://{address}"), database, stop, server })
    }

    /// URL of the endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts many items into a table in one transaction of the engine, without stream records. This is about a hundred times
    /// faster than through the API.
    pub fn import(&self, table: &str, items: impl IntoIterator<Item = Item>) -> anyhow::Result<()> {
        let item = |item: Item| item.into_iter().map(|(name, value)| Ok((name, to_engine(value)?))).collect();
        let items = items.into_iter().map(item).collect::<anyhow::Result<Vec<_>>>()?;
        let imported = self.database.import_items(table, items, ImportOptions::default());
        imported.map(drop).map_err(|error| anyhow!("the embedded DynamoDB did not import the items: {error}"))
    }

    /// Stops the engine and waits at most two seconds for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.server).await;
    }
}

/// Adds the indexes over a connection of its own, because the engine does not give access to its connection.
fn index_stream_records(path: &Path) {
    if let Err(error) = Connection::open(path).and_then(|file| file.execute_batch(INDEX_STREAM_RECORDS)) {
        tracing::warn!(%error, "the embedded DynamoDB has no index of its stream, and becomes slower with each message");
    }
}

/// Converts a value to the type of the engine. Returns an error for binary values, sets and null, which imports do not need.
fn to_engine(value: AttributeValue) -> anyhow::Result<dynoxide::AttributeValue> {
    Ok(match value {
        AttributeValue::S(text) => dynoxide::AttributeValue::S(text),
        AttributeValue::N(number) => dynoxide::AttributeValue::N(number),
        AttributeValue::Bool(value) => dynoxide::AttributeValue::BOOL(value),
        AttributeValue::L(list) => {
            dynoxide::AttributeValue::L(list.into_iter().map(to_engine).collect::<anyhow::Result<_>>()?)
        }
        AttributeValue::M(map) => {
            let entry = |(name, value)| Ok((name, to_engine(value)?));
            dynoxide::AttributeValue::M(map.into_iter().map(entry).collect::<anyhow::Result<_>>()?)
        }
        other => bail!("this value cannot be imported: {other:?}"),
    })
}
