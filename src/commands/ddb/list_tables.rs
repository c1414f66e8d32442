//! `ddb list-tables`: prints the names of all tables.

use serde_json::json;

use crate::commands::output::Output;
use crate::commands::target::Target;
use crate::messages_table::schema::list_tables;

pub async fn run(target: &Target, output: Output) -> anyhow::Result<()> {
    for name in list_tables(&target.aws.dynamodb).await? {
        output.result(&name, || json!({ "table": name }));
    }
    Ok(())
}
