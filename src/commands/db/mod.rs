//! `db`: commands for PostgreSQL, one file for each. They use a database that is not local only with `--prod`.

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
    /// Add the seed users whose handles are free
    #[command(after_help = "Example:\n  cruddur-messaging db seed")]
    Seed,
    /// Copy the users' ids from the Cognito user pool
    ///
    /// A user of the pool gets the account of the user in PostgreSQL whose e-mail address they have verified. They must also
    /// be confirmed and enabled. Their preferred_username need not be the handle, because anybody can choose any name.
    /// The command fills in only an id that is empty or MOCK: see --replace. It does not match an e-mail address that two
    /// users of the pool, or two users in PostgreSQL, have.
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
