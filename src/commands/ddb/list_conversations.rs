//! `ddb patterns list-conversations`: prints the message groups of a user (access pattern B).

use anyhow::bail;
use chrono::{DateTime, Local};
use clap::Args;
use serde_json::json;

use super::summary::summary;
use crate::commands::database::Database;
use crate::commands::failure::Endpoints;
use crate::commands::output::{Output, columns, padded};
use crate::commands::target::{Prod, Target};
use crate::config::DatabaseSettings;
use crate::instant::format_instant;

pub const EXAMPLE: &str = "Example:
  cruddur-messaging ddb patterns list-conversations ana

The handle of the other user is the handle at the time of the last message.";

#[derive(Args, Debug)]
pub struct Options {
    /// Handle of the user
    handle: String,
    #[command(flatten)]
    database: DatabaseSettings,
    /// Maximum number of conversations to print
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub async fn run(target: &Target, output: Output, prod: &Prod, options: &Options) -> anyhow::Result<()> {
    let database = Database::open(&options.database, prod).await?;
    let endpoints = Endpoints { postgres: Some(database.location.clone()), ..target.endpoints() };
    let listed = list(target, output, options, &database).await;
    database.users.close().await;
    listed.map_err(|error| endpoints.explain(error))
}

async fn list(target: &Target, output: Output, options: &Options, database: &Database) -> anyhow::Result<()> {
    let handle = &options.handle;
    let Some(user) = database.users.by_handle(handle).await? else {
        bail!("no user has the handle {handle:?} in PostgreSQL at {} (DATABASE_URL)", database.location);
    };
    output.say(format!("Conversations of {handle} ({}) in {target}", user.uuid));
    let table = target.messages_table();
    let slice = table.message_groups(user.uuid, None, usize::try_from(options.limit)?).await?;
    let longest = slice.items.iter().map(|row| columns(&row.other.names.handle)).max().unwrap_or(0);
    for row in &slice.items {
        let last = row.sort_key.created_at().unwrap_or_default();
        let other = padded(&row.other.names.handle, longest);
        let at = DateTime::<Local>::from(last).format("%Y-%m-%d %H:%M:%S %:z");
        output.row(&format!("{at}  {other}  {}  {}", row.group, row.body), || {
            json!({
                "messageGroup": {
                    "uuid": row.group.to_string(),
                    "otherUuid": row.other.uuid.to_string(),
                    "otherHandle": row.other.names.handle,
                    "lastMessageAt": format_instant(last),
                    "lastMessage": row.body,
                }
            })
        });
    }
    summary(output, ("conversations", "messageGroups"), slice.items.len(), slice.more, table.consumed());
    Ok(())
}
