//! `db`: commands for PostgreSQL, one file for each. They use a database on AWS only with `--prod`.

mod migrate;
mod seed;
mod update_cognito_user_ids;

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::failure::{Endpoints, UsageError};
use super::output::Output;
use super::target::Prod;
use crate::app::pool;
use crate::aws::is_aws;
use crate::config::SettingError;
use crate::config::stores::DatabaseSettings;
use crate::users::{Users, UsersError};

/// Timeout of the connection that finds out why the pool has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that breaks is retried.
const RETRY_TIME: Duration = Duration::from_secs(2);

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
    /// Users are matched by preferred_username in Cognito and handle in PostgreSQL. Users can change their
    /// preferred_username, so the command fills in only an id that is empty or MOCK. See --replace.
    #[command(after_help = update_cognito_user_ids::EXAMPLE)]
    UpdateCognitoUserIds(update_cognito_user_ids::Options),
}

/// A PostgreSQL database.
pub struct Database {
    /// Users of the database.
    pub users: Users,
    /// Host, port and name of the database, without the password.
    pub location: String,
}

impl Database {
    /// Connects to the configured database. One on AWS requires `prod`.
    ///
    /// # Errors
    /// The setting is missing or wrong, `prod` is missing, or the database is unreachable.
    pub async fn open(settings: &DatabaseSettings, prod: Prod) -> anyhow::Result<Self> {
        let url = settings.url()?;
        let problem = "must have the form postgresql://user:password@host:5432/database";
        let options = PgConnectOptions::from_str(url).map_err(|_| SettingError::wrong("DATABASE_URL", problem))?;
        let host = options.get_host();
        if is_aws(host) && !prod.prod {
            return Err(
                UsageError(format!("DATABASE_URL names a database on AWS ({host}): add --prod to use it")).into()
            );
        }
        let name = options.get_database().unwrap_or_default();
        let location = format!("{host}:{}/{name}", options.get_port());
        let users = Users::new(pool(url, settings.database_max_connections)?);
        let start = Instant::now();
        let error = loop {
            match users.ping().await {
                Ok(()) => return Ok(Self { users, location }),
                // The embedded PostgreSQL accepts a connection only some time after the previous one has ended.
                Err(UsersError::Unavailable(sqlx::Error::Io(_))) if start.elapsed() < RETRY_TIME => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // The pool reports only a timeout; a single connection reports the cause.
                Err(UsersError::Unavailable(timeout @ sqlx::Error::PoolTimedOut)) => {
                    let connected = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
                    break UsersError::from(connected.ok().and_then(Result::err).unwrap_or(timeout));
                }
                Err(error) => break error,
            }
        };
        users.close().await;
        Err(Endpoints { postgres: Some(location), ..Endpoints::default() }.explain(error.into()))
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("error")?;
    let Options { prod, output, database, command } = options;
    let database = Database::open(&database, prod).await?;
    let mut endpoints = Endpoints { postgres: Some(database.location.clone()), ..Endpoints::default() };
    let done = match command {
        Command::Migrate => migrate::run(&database, output).await,
        Command::Seed => seed::run(&database, output).await,
        Command::UpdateCognitoUserIds(options) => {
            update_cognito_user_ids::run(&database, output, prod, &options, &mut endpoints).await
        }
    };
    database.users.close().await;
    done.map_err(|error| endpoints.explain(error))
}
