//! `ddb seed`: writes the seed conversations.

use clap::Args;
use serde_json::json;

use super::summary::cost;
use crate::commands::database::Database;
use crate::commands::failure::{Endpoints, LeftOver, UsageError};
use crate::commands::output::Output;
use crate::commands::target::{Prod, Target};
use crate::config::DatabaseSettings;
use crate::seed::{seed_messages, write_units};

pub const EXAMPLE: &str = "Example:
  cruddur-messaging db seed && cruddur-messaging ddb seed";

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    database: DatabaseSettings,
    /// Allow the seed with --prod
    #[arg(long)]
    even_in_production: bool,
}

impl Options {
    /// Prints the maximum cost, and rejects the seed with `--prod` unless `--even-in-production` is given.
    pub fn check(&self, prod: &Prod, output: Output) -> Result<(), UsageError> {
        output.say(format!("The seed consumes at most {} write units", write_units()));
        if !prod.prod || self.even_in_production {
            return Ok(());
        }
        let problem = "nothing was written: the seed is test data; add --even-in-production to write it nevertheless";
        Err(UsageError(problem.to_owned()))
    }
}

pub async fn run(target: &Target, output: Output, prod: &Prod, options: &Options) -> anyhow::Result<()> {
    output.say(format!("Seeding {target}"));
    let database = Database::open(&options.database, prod).await?;
    let table = target.messages_table();
    let seeded = seed_messages(&table, &database.users).await;
    database.users.close().await;
    let endpoints = Endpoints { postgres: Some(database.location), ..target.endpoints() };
    let done = seeded.map_err(|error| endpoints.explain(error.into()))?;
    let units = table.consumed();
    let text = format!(
        "conversations: {} created, {} conflict with existing ones; messages: {} written, {} existed; {}",
        done.conversations,
        done.left_alone,
        done.messages,
        done.messages_there,
        cost(units)
    );
    output.result(text, || {
        json!({
            "conversations": done.conversations,
            "leftAlone": done.left_alone,
            "withoutUsers": done.without_users,
            "messages": done.messages,
            "messagesThere": done.messages_there,
            "readUnits": units.read,
            "writeUnits": units.write,
        })
    });
    match done.without_users {
        0 => Ok(()),
        some => Err(LeftOver(format!(
            "{some} conversations were skipped: PostgreSQL lacks their users; run `db seed` first (DATABASE_URL)"
        ))
        .into()),
    }
}
