//! Settings of the two stores: the DynamoDB table and the PostgreSQL database.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::setting::{SettingError, given};

/// Names the DynamoDB table.
#[derive(Args, Clone, Debug)]
pub struct TableSettings {
    /// Name of the messages table; the name of the stream consumer's table is this name followed by `-leases`
    #[arg(
        long,
        env = "DDB_MESSAGE_TABLE",
        global = true,
        value_name = "DDB_MESSAGE_TABLE",
        default_value = "cruddur-messages",
        value_parser = table_name
    )]
    pub ddb_message_table: String,
}

/// Settings of the feeds.
#[derive(Args, Clone, Copy, Debug)]
pub struct FeedSettings {
    /// Number of days for which the server keeps feed entries; 0 means that they never expire. Use the same value in all
    /// processes
    #[arg(
        long,
        env = "FEED_RETENTION_DAYS",
        global = true,
        value_name = "FEED_RETENTION_DAYS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(0..=36_500)
    )]
    pub feed_retention_days: u32,
}

impl FeedSettings {
    /// Time for which feeds keep their entries. `None` if entries never expire.
    pub fn retention(self) -> Option<Duration> {
        let days = u64::from(self.feed_retention_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3600))
    }
}

/// Time by which this program waits longer for a query than PostgreSQL's own timeout. If PostgreSQL cancels the query first,
/// the connection can be used again.
const GRACE_MS: u64 = 1_000;

/// Settings of the PostgreSQL database.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// URL of the PostgreSQL database with the users table: `postgresql://user:password@host:5432/database`
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Maximum number of connections to PostgreSQL for each process. An API process has one more, which receives
    /// notifications; `worker` uses only one
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        global = true,
        value_name = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_max_connections: u32,
    /// Maximum duration of a PostgreSQL query in milliseconds; migrations and updates by commands have no limit
    #[arg(
        long,
        env = "DATABASE_STATEMENT_TIMEOUT_MS",
        global = true,
        value_name = "DATABASE_STATEMENT_TIMEOUT_MS",
        default_value_t = Self::STATEMENT_TIMEOUT_MS,
        value_parser = clap::value_parser!(u32).range(100..=600_000)
    )]
    pub database_statement_timeout_ms: u32,
}

impl DatabaseSettings {
    /// Default of `DATABASE_STATEMENT_TIMEOUT_MS`.
    const STATEMENT_TIMEOUT_MS: u32 = 2_000;
    /// Default of [`DatabaseSettings::query_timeout`].
    pub const QUERY_TIMEOUT: Duration = Duration::from_millis(Self::STATEMENT_TIMEOUT_MS as u64 + GRACE_MS);

    /// Time after which PostgreSQL cancels a statement.
    pub fn statement_timeout(&self) -> Duration {
        Duration::from_millis(self.database_statement_timeout_ms.into())
    }

    /// Time after which this program no longer waits for the response to a query.
    pub fn query_timeout(&self) -> Duration {
        self.statement_timeout() + Duration::from_millis(GRACE_MS)
    }

    /// Returns the URL of the database.
    ///
    /// # Errors
    /// The setting is missing, or its URL does not begin with `postgresql://` or `postgres://`.
    pub fn url(&self) -> Result<&str, SettingError> {
        postgres_url("DATABASE_URL", &self.database_url)
    }

    /// Whether `DATABASE_URL` is set.
    pub fn is_given(&self) -> bool {
        given("DATABASE_URL", &self.database_url).is_ok()
    }
}

/// How processes tell each other which feeds have new entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HintBroker {
    /// With `LISTEN` and `NOTIFY` of PostgreSQL.
    Postgres,
    /// Processes do not notify each other.
    None,
}

/// Settings of the hints between processes.
#[derive(Args, Clone, Debug)]
pub struct HintSettings {
    /// How processes notify each other of new messages; with `none`, subscriptions receive a message of another process up
    /// to 90 seconds late
    #[arg(long, env = "HINT_BROKER", value_name = "HINT_BROKER", default_value = "postgres")]
    pub hint_broker: HintBroker,
}

/// Settings of the connection that listens for hints of other processes.
#[derive(Args, Clone, Debug)]
pub struct ListenSettings {
    /// URL of the PostgreSQL database for the connection that listens for notifications of other processes; it must not lead to
    /// a connection pooler in transaction mode [default: DATABASE_URL]
    #[arg(long, env = "DATABASE_LISTEN_URL", value_name = "DATABASE_LISTEN_URL", hide_env_values = true)]
    pub database_listen_url: Option<String>,
}

impl ListenSettings {
    /// Returns the URL of the database for the listening connection. If it is not set, returns the URL of `database`.
    ///
    /// # Errors
    /// As in [`DatabaseSettings::url`].
    pub fn url<'a>(&'a self, database: &'a DatabaseSettings) -> Result<&'a str, SettingError> {
        let name = "DATABASE_LISTEN_URL";
        if given(name, &self.database_listen_url).is_ok() {
            return postgres_url(name, &self.database_listen_url);
        }
        database.url()
    }
}

fn postgres_url<'a>(name: &'static str, url: &'a Option<String>) -> Result<&'a str, SettingError> {
    let url = given(name, url)?;
    if url.starts_with("postgresql://") || url.starts_with("postgres://") {
        return Ok(url);
    }
    // The error does not show the URL, because it may contain a password.
    Err(SettingError::wrong(name, "must be a PostgreSQL URL, which begins with postgresql://"))
}

/// Checks a name against DynamoDB's rules. The maximum length is 248 instead of 255 characters, because the name of the
/// consumer's table has the suffix `-leases`.
fn table_name(text: &str) -> Result<String, &'static str> {
    let has_length = (3..=248).contains(&text.len());
    let has_characters = text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
    if has_length && has_characters {
        Ok(text.to_owned())
    } else {
        Err("must be a table name of 3 to 248 characters from a-z, A-Z, 0-9, _, - and .")
    }
}
