//! The PostgreSQL database of the commands for operators. A database on a host that is not local requires `--prod`.

use std::time::{Duration, Instant};

use sqlx::ConnectOptions;

use super::failure::Endpoints;
use super::target::Prod;
use crate::app::pool;
use crate::config::{DatabaseSettings, SettingError};
use crate::users::connection::connect_options;
use crate::users::{Users, UsersError};

/// Maximum time for the single connection that shows why the pool has no connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a connection that breaks is retried.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// A PostgreSQL database.
pub struct Database {
    /// The users table of the database.
    pub users: Users,
    /// Host, port and name of the database, without the password.
    pub location: String,
}

impl Database {
    /// Connects to the configured database. A database on a host that is not local requires the flag of `prod`.
    ///
    /// # Errors
    /// The setting is missing or wrong, the flag is missing, or the database is unreachable.
    pub async fn open(settings: &DatabaseSettings, prod: &Prod) -> anyhow::Result<Self> {
        let url = settings.url()?;
        let problem = "must have the form postgresql://user:password@host:5432/database";
        let options = connect_options(url).map_err(|_| SettingError::wrong("DATABASE_URL", problem))?;
        let host = options.get_host();
        let is_unix_socket = options.get_socket().is_some() || host.starts_with('/');
        if !is_unix_socket {
            prod.check("DATABASE_URL", host)?;
        }
        let name = options.get_database().unwrap_or_default();
        let location = format!("{host}:{}/{name}", options.get_port());
        // Statements have no timeout, because a migration or an update of all users may take long.
        let pool = pool(url, settings.database_max_connections, None)?;
        let users = Users::new(pool).with_query_timeout(settings.query_timeout());
        let start = Instant::now();
        let error = loop {
            match users.ping().await {
                Ok(()) => return Ok(Self { users, location }),
                // The embedded PostgreSQL accepts a connection only some time after the previous one has ended.
                Err(UsersError::Unavailable(sqlx::Error::Io(_))) if start.elapsed() < RETRY_TIME => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // The pool reports only a timeout, but a single connection reports the cause.
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
