//! `db migrate`: applies the migrations.

use serde_json::json;

use crate::commands::database::Database;
use crate::commands::output::Output;
use crate::preflight::check_handles;

pub async fn run(database: &Database, output: Output) -> anyhow::Result<()> {
    output.say(format!("Migrating PostgreSQL at {}", database.location));
    database.users.migrate().await?;
    check_handles(&database.users).await?;
    output.result("The schema is up to date.", || json!({ "upToDate": true }));
    Ok(())
}
