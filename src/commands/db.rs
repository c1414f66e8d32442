//! `db`: the operator's commands on PostgreSQL.

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::app::pool;
use crate::config::DatabaseSettings;
use crate::seed::{NOT_IN_COGNITO_YET, USERS, seed_users};
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Bring the database's schema up to date
    Migrate(DatabaseSettings),
    /// Add the seed's users, where their handles are not taken
    Seed(DatabaseSettings),
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("warn")?;
    match options.command {
        Command::Migrate(database) => {
            let users = connect(&database)?;
            users.migrate().await.context("the migrations did not run (DATABASE_URL)")?;
            println!("The schema is up to date.");
            users.close().await;
        }
        Command::Seed(database) => {
            let users = connect(&database)?;
            let added = seed_users(&users, |_| NOT_IN_COGNITO_YET.to_owned()).await?;
            println!("{added} users added, {} were there already", USERS.len() - added);
            users.close().await;
        }
    }
    Ok(())
}

fn connect(database: &DatabaseSettings) -> anyhow::Result<Users> {
    Ok(Users::new(pool(database.url()?, database.database_max_connections)?))
}
