//! Time to live: DynamoDB deletes an item, without cost, after the time in its attribute [`EXPIRES_AT`]. Local engines may lack
//! the feature. Expired items then stay in the table, which only takes space.

use std::fmt;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{TimeToLiveSpecification, TimeToLiveStatus};

use super::error::SchemaError;
use super::tables::update_when_ready;
use super::wanted::Loaded;
use crate::messages_table::error::{TableError, classify};
use crate::messages_table::items::EXPIRES_AT;

/// The time to live setting of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// Enabled for this attribute.
    Enabled(String),
    /// Disabled.
    Disabled,
    /// Being disabled. On AWS this takes up to an hour, during which time to live cannot be enabled.
    Disabling,
    /// The endpoint does not support it.
    Unsupported,
}

impl TimeToLive {
    fn wanted() -> Self {
        Self::Enabled(EXPIRES_AT.to_owned())
    }

    /// Whether expired items stay in the table although the endpoint supports their deletion.
    pub fn is_missing(&self) -> bool {
        *self != Self::wanted() && *self != Self::Unsupported
    }
}

impl fmt::Display for TimeToLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled(attribute) => write!(f, "attribute {attribute}"),
            Self::Disabled => f.write_str("disabled"),
            Self::Disabling => f.write_str("being disabled"),
            Self::Unsupported => f.write_str("not supported by this endpoint"),
        }
    }
}

/// Describes the time to live setting of a table.
pub async fn time_to_live(client: &Client, table: &str) -> Result<TimeToLive, TableError> {
    let described = match client.describe_time_to_live().table_name(table).send().await {
        Ok(described) => described.time_to_live_description,
        Err(error) if error.code() == Some("UnknownOperationException") => return Ok(TimeToLive::Unsupported),
        Err(error) => return Err(classify("DescribeTimeToLive", error)),
    };
    let Some(described) = described else { return Ok(TimeToLive::Disabled) };
    Ok(match described.time_to_live_status {
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) => {
            TimeToLive::Enabled(described.attribute_name.unwrap_or_default())
        }
        Some(TimeToLiveStatus::Disabling) => TimeToLive::Disabling,
        _ => TimeToLive::Disabled,
    })
}

/// Enables time to live if it is disabled. If it is enabled for another attribute or is being disabled, reports a difference.
pub(super) async fn ensure_time_to_live(client: &Client, table: &str, loaded: &mut Loaded) -> Result<(), SchemaError> {
    let what = "time to live";
    match time_to_live(client, table).await? {
        TimeToLive::Disabled => {
            let on = TimeToLiveSpecification::builder().attribute_name(EXPIRES_AT).enabled(true).build();
            // `build` fails only without a name or the switch, and both were given.
            let on = on.expect("a complete specification");
            let update = client.update_time_to_live().table_name(table).time_to_live_specification(on);
            update_when_ready(table, "UpdateTimeToLive", async || update.clone().send().await).await?;
            loaded.changed.push(format!("{what}: enabled, {}", TimeToLive::wanted()));
        }
        TimeToLive::Unsupported => loaded.matches.push(format!("{what}: {}", TimeToLive::Unsupported)),
        found => loaded.compare(what, found, TimeToLive::wanted()),
    }
    Ok(())
}
