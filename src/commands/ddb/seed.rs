//! `ddb seed`

use clap::Args;
use serde_json::json;

use super::cost;
use crate::commands::db::Database;
use crate::commands::failure::{LeftOver, Refused};
use crate::commands::output::Output;
use crate::commands::target::{Prod, Target};
use crate::config::stores::DatabaseSettings;
use crate::seed::{seed_messages, write_units};

pub const EXAMPLE: &str = "Example:
  cruddur-messaging db seed && cruddur-messaging ddb seed";

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    database: DatabaseSettings,
    /// Write made-up conversations with --prod, too
    #[arg(long)]
    even_in_production: bool,
}

impl Options {
    pub fn check(&self, prod: Prod, output: Output) -> Result<(), Refused> {
        output.say(format!("The seed costs {} write units at most", write_units()));
        if !prod.prod || self.even_in_production {
            return Ok(());
        }
        let why =
            "nothing is written: the seed's conversations are made up; --even-in-production writes them all the same";
        Err(Refused(why.to_owned()))
    }
}

pub async fn run(target: &Target, output: Output, prod: Prod, options: &Options) -> anyhow::Result<()> {
    output.say(format!("Seeding {target}"));
    let database = Database::open(&options.database, prod).await?;
    let table = target.messages_table();
    let seeded = seed_messages(&table, &database.users).await;
    database.users.close().await;
    let mut place = target.place();
    place.postgres = Some(database.place);
    let done = seeded.map_err(|error| place.explain(error.into()))?;
    let units = table.consumed();
    let text = format!(
        "{} conversations begun, {} left alone, {} messages written, {} were there; {}",
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
            "{some} conversations left out: PostgreSQL lacks their users, so run `db seed` first (DATABASE_URL)"
        ))
        .into()),
    }
}
