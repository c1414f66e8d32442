//! `db`: commands for PostgreSQL, one file for each. A database that is not local requires `--prod`.

mod migrate;
mod seed;
mod update_cognito_user_ids;

use clap::{Args, Subcommand};

use super::database::Database;
use super::failure::Endpoints;
use super::output::Output;
use super::target::Prod;
use crate::config::DatabaseSettings;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    prod: Prod,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Apply the migrations that the database lacks
    #[command(after_help = "Example:\n  cruddur-messaging db migrate")]
    Migrate,
    /// Add the seed users whose handles are not in use
    #[command(after_help = "Example:\n  cruddur-messaging db seed")]
    Seed,
    /// Copy the users' ids from the Cognito user pool
    ///
    /// A user of the pool gets the account of the user in PostgreSQL who has the same e-mail address. The user of the pool must
    /// be confirmed and enabled, and must have verified the address. The preferred_username may differ from the handle, because
    /// anybody can choose any name. The command writes an id only if the existing id is empty or MOCK: see --replace. It skips
    /// an e-mail address that two users of the pool, or two users in PostgreSQL, have.
    #[command(after_help = update_cognito_user_ids::EXAMPLE)]
    UpdateCognitoUserIds(update_cognito_user_ids::Options),
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::logging::start("error")?;
    let Options { prod, output, database, command } = options;
    let database = Database::open(&database, &prod).await?;
    let mut endpoints = Endpoints { postgres: Some(database.location.clone()), ..Endpoints::default() };
    let done = match command {
        Command::Migrate => migrate::run(&database, output).await,
        Command::Seed => seed::run(&database, output).await,
        Command::UpdateCognitoUserIds(options) => {
            update_cognito_user_ids::run(&database, output, &prod, &options, &mut endpoints).await
        }
    };
    database.users.close().await;
    done.map_err(|error| endpoints.explain(error))
}
