//! Calls that describe, list and drop tables, and that wait until a table reaches a state.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{IndexStatus, TableDescription, TableStatus};

use super::error::SchemaError;
use crate::messages_table::error::{TableError, classify};

/// Maximum time to wait for a state. On AWS, it takes minutes until an index is ACTIVE.
const DEADLINE: Duration = Duration::from_secs(900);
/// First wait between two calls. Each wait is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Maximum wait between two calls.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Drops a table and waits until DynamoDB has deleted it. Returns `false` if the table does not exist.
pub async fn drop_table(client: &Client, name: &str) -> Result<bool, SchemaError> {
    match client.delete_table().table_name(name).send().await {
        Ok(_) => {}
        Err(error) if error.as_service_error().is_some_and(|it| it.is_resource_not_found_exception()) => {
            return Ok(false);
        }
        Err(error)
            if error.code() == Some("ValidationException")
                && error.message().is_some_and(|it| it.to_lowercase().contains("protect")) =>
        {
            return Err(SchemaError::Protected { table: name.to_owned() });
        }
        Err(error) => return Err(classify("DeleteTable", error).into()),
    }
    wait_until(client, name, "deleted", |found| found.is_none()).await?;
    Ok(true)
}

/// Returns the names of all tables of the account in the region.
pub async fn list_tables(client: &Client) -> Result<Vec<String>, TableError> {
    let mut names = Vec::new();
    let mut start = None;
    loop {
        let request = client.list_tables().set_exclusive_start_table_name(start);
        let page = request.send().await.map_err(|error| classify("ListTables", error))?;
        names.extend(page.table_names.unwrap_or_default());
        start = page.last_evaluated_table_name;
        if start.is_none() {
            return Ok(names);
        }
    }
}

/// Describes a table. Returns `None` if it does not exist.
pub async fn describe(client: &Client, name: &str) -> Result<Option<TableDescription>, TableError> {
    match client.describe_table().table_name(name).send().await {
        Ok(response) => Ok(response.table),
        Err(error) if error.as_service_error().is_some_and(|it| it.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(classify("DescribeTable", error)),
    }
}

pub(super) async fn wait_until_active(client: &Client, name: &str) -> Result<(), SchemaError> {
    let is_active = |found: Option<&TableDescription>| {
        found.is_some_and(|table| {
            table.table_status() == Some(&TableStatus::Active)
                && table.global_secondary_indexes().iter().all(|it| it.index_status() == Some(&IndexStatus::Active))
        })
    };
    wait_until(client, name, "ACTIVE", is_active).await
}

/// Error codes of an update for which a table is not ready yet. The description of a table is eventually consistent, so the
/// update before can still use a table that is described as ACTIVE. AWS prepares the backups of a new table in the background.
const NOT_READY: [&str; 2] = ["ResourceInUseException", "ContinuousBackupsUnavailableException"];

/// Calls `update` until the table is ready for it.
pub(super) async fn update_when_ready<T, E>(
    name: &str,
    operation: &'static str,
    update: impl AsyncFn() -> Result<T, SdkError<E, HttpResponse>>,
) -> Result<T, SchemaError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let when_ready = async || match update().await {
        Err(error) if error.code().is_some_and(|code| NOT_READY.contains(&code)) => Ok(None),
        result => result.map(Some).map_err(|error| classify(operation, error)),
    };
    repeat(name, "ready for an update", when_ready).await
}

async fn wait_until(
    client: &Client,
    name: &str,
    state: &'static str,
    holds: impl Fn(Option<&TableDescription>) -> bool,
) -> Result<(), SchemaError> {
    repeat(name, state, async || Ok(holds(describe(client, name).await?.as_ref()).then_some(()))).await
}

/// Repeats `step`, with growing waits, until it returns a value: the table has reached the state.
async fn repeat<T>(
    name: &str,
    state: &'static str,
    step: impl AsyncFn() -> Result<Option<T>, TableError>,
) -> Result<T, SchemaError> {
    let repeated = async {
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(value) = step().await? {
                return Ok::<_, TableError>(value);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    };
    match tokio::time::timeout(DEADLINE, repeated).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(SchemaError::TooSlow { table: name.to_owned(), state, waited: DEADLINE }),
    }
}
