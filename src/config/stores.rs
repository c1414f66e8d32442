//! Settings of the table and of PostgreSQL.

use clap::Args;

use super::{SettingError, given};

/// The messages table.
#[derive(Args, Clone, Debug)]
pub struct TableSettings {
    /// Name of the messages table; the stream consumer's own table has the same name with `-leases` appended
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

/// PostgreSQL.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// PostgreSQL database with the users table: `postgresql://user:password@host:5432/database`
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Maximum number of connections to PostgreSQL
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        global = true,
        value_name = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_max_connections: u32,
}

impl DatabaseSettings {
    /// The URL of the database.
    pub fn url(&self) -> Result<&str, SettingError> {
        let name = "DATABASE_URL";
        let url = given(name, &self.database_url)?;
        // The value is not part of the error, because it can have a password.
        let problem = "must be a PostgreSQL URL such as postgresql://user:password@host:5432/database";
        let is_postgres = url.starts_with("postgresql://") || url.starts_with("postgres://");
        if is_postgres { Ok(url) } else { Err(SettingError::wrong(name, problem)) }
    }
}

/// DynamoDB's rules for names, with space for the suffix `-leases`.
fn table_name(text: &str) -> Result<String, &'static str> {
    let fits = (3..=248).contains(&text.len());
    let is_plain = text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
    if fits && is_plain {
        Ok(text.to_owned())
    } else {
        Err("the name of a table must have 3 to 248 characters out of a-z, A-Z, 0-9, _, - and .")
    }
}
