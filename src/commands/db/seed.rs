//! `db seed`

use serde_json::json;

use super::Database;
use crate::commands::output::Output;
use crate::seed::{USERS, seed_users};
use crate::users::cognito_ids::NOT_IN_COGNITO_YET;

pub async fn run(database: &Database, output: Output) -> anyhow::Result<()> {
    output.say(format!("Seeding PostgreSQL at {}", database.place));
    let added = seed_users(&database.users, |_| NOT_IN_COGNITO_YET.to_owned()).await?;
    let there = USERS.len() - added;
    output.result(
        format!("{added} users added, {there} were there already"),
        || json!({ "added": added, "there": there }),
    );
    Ok(())
}
