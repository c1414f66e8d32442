//! `db`: the operator's commands on PostgreSQL, a file each. They reach a database on AWS only with `--prod`.

mod migrate;
mod seed;
mod update_cognito_user_ids;

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::failure::{Place, Refused};
use super::output::Output;
use super::target::Prod;
use crate::app::pool;
use crate::aws::is_aws;
use crate::config::SettingError;
use crate::config::stores::DatabaseSettings;
use crate::users::{Users, UsersError};

/// How long PostgreSQL may take to say what is wrong.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long its connections may break.
const IO_PATIENCE: Duration = Duration::from_secs(2);

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
    /// Bring the database's schema up to date
    #[command(after_help = "Example:\n  cruddur-messaging db migrate")]
    Migrate,
    /// Add the seed's users, where their handles are not taken
    #[command(after_help = "Example:\n  cruddur-messaging db seed")]
    Seed,
    /// Fill in the ids that Cognito knows the users by
    ///
    /// All users of the user pool are matched by preferred_username to handle. People can set preferred_username to
    /// anything: only an id that is empty or MOCK is filled in.
    #[command(after_help = update_cognito_user_ids::EXAMPLE)]
    UpdateCognitoUserIds(update_cognito_user_ids::Options),
}

/// A database, and what to call it.
pub struct Database {
    /// Its users.
    pub users: Users,
    /// Host, port and name; no password.
    pub place: String,
}

impl Database {
    /// Reaches the database that is configured; one on AWS with `prod` only.
    pub async fn open(settings: &DatabaseSettings, prod: Prod) -> anyhow::Result<Self> {
        let url = settings.url()?;
        let problem = "cannot be read: it has the form postgresql://user:password@host:5432/database";
        let options = PgConnectOptions::from_str(url).map_err(|_| SettingError::wrong("DATABASE_URL", problem))?;
        let host = options.get_host();
        if is_aws(host) && !prod.prod {
            return Err(Refused(format!("DATABASE_URL is on AWS ({host}): give --prod to reach it")).into());
        }
        let name = options.get_database().unwrap_or_default();
        let place = format!("{host}:{}/{name}", options.get_port());
        let users = Users::new(pool(url, settings.database_max_connections)?);
        let begin = Instant::now();
        let error = loop {
            match users.ping().await {
                Ok(()) => return Ok(Self { users, place }),
                // The embedded one needs a moment after the end of the connection before.
                Err(UsersError::Unavailable(sqlx::Error::Io(_))) if begin.elapsed() < IO_PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // A pool tells that it waited; a connection tells what is wrong.
                Err(UsersError::Unavailable(waited @ sqlx::Error::PoolTimedOut)) => {
                    let connected = tokio::time::timeout(CONNECT_PATIENCE, options.connect()).await;
                    break UsersError::from(connected.ok().and_then(Result::err).unwrap_or(waited));
                }
                Err(error) => break error,
            }
        };
        users.close().await;
        let place = Place { postgres: Some(place), ..Place::default() };
        Err(place.explain(error.into()))
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("error")?;
    let Options { prod, output, database, command } = options;
    let database = Database::open(&database, prod).await?;
    let mut place = Place { postgres: Some(database.place.clone()), ..Place::default() };
    let done = match command {
        Command::Migrate => migrate::run(&database, output).await,
        Command::Seed => seed::run(&database, output).await,
        Command::UpdateCognitoUserIds(options) => {
            update_cognito_user_ids::run(&database, output, prod, &options, &mut place).await
        }
    };
    database.users.close().await;
    done.map_err(|error| place.explain(error))
}
