//! DynamoDB in the process. It is served on a loopback port, so the real SDK is used.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::{Database, ImportOptions};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Item = HashMap<String, AttributeValue>;

/// A running engine.
pub struct EmbeddedDynamoDb {
    url: String,
    database: Database,
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
        let server = tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener,
            database.clone(),
            stop.clone().cancelled_owned(),
        ));
        Ok(Self { url: format!("http://{address}"), database, stop, server })
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts many items in one transaction of the engine, without stream records: a hundred times faster than through the API.
    pub fn import(&self, table: &str, items: impl IntoIterator<Item = Item>) -> anyhow::Result<()> {
        let item = |item: Item| item.into_iter().map(|(name, value)| Ok((name, to_engine(value)?))).collect();
        let items = items.into_iter().map(item).collect::<anyhow::Result<Vec<_>>>()?;
        let imported = self.database.import_items(table, items, ImportOptions::default());
        imported.map(drop).map_err(|error| anyhow!("the embedded DynamoDB did not import the items: {error}"))
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.server).await;
    }
}

/// Converts a value to the type of the engine. Sets and binary values are not used in the tables.
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
