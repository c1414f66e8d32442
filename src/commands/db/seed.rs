//! `db seed`: adds the seed users.

use serde_json::json;

use crate::commands::database::Database;
use crate::commands::output::Output;
use crate::seed::{USERS, seed_users};
use crate::users::cognito_ids::NOT_IN_COGNITO_YET;

pub async fn run(database: &Database, output: Output) -> anyhow::Result<()> {
    output.say(format!("Seeding PostgreSQL at {}", database.location));
    let added = seed_users(&database.users, |_| NOT_IN_COGNITO_YET.to_owned()).await?;
    let existed = USERS.len() - added;
    output.result(format!("{added} users added, {existed} existed"), || json!({ "added": added, "there": existed }));
    Ok(())
}
