//! Settings of the two stores: the DynamoDB table and the PostgreSQL database.

use clap::Args;

use super::setting::{SettingError, given};

/// Names the DynamoDB table.
#[derive(Args, Clone, Debug)]
pub struct TableSettings {
    /// Name of the messages table; the table of the stream consumer has the same name followed by `-leases`
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

/// Settings of the PostgreSQL database.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// URL of the PostgreSQL database with the users table: `postgresql://user:password@host:5432/database`
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
    /// Returns the URL of the database.
    ///
    /// # Errors
    /// The setting is missing, or its URL does not begin with `postgresql://` or `postgres://`.
    pub fn url(&self) -> Result<&str, SettingError> {
        let name = "DATABASE_URL";
        let url = given(name, &self.database_url)?;
        if url.starts_with("postgresql://") || url.starts_with("postgres://") {
            return Ok(url);
        }
        // The URL may contain a password: no error shows it.
        Err(SettingError::wrong(name, "must be a PostgreSQL URL, which begins with postgresql://"))
    }
}

/// Checks a name against DynamoDB's rules. The limit of 255 characters leaves room for the suffix `-leases`.
fn table_name(text: &str) -> Result<String, &'static str> {
    let has_length = (3..=248).contains(&text.len());
    let has_characters = text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
    if has_length && has_characters {
        Ok(text.to_owned())
    } else {
        Err("must be a table name of 3 to 248 characters from a-z, A-Z, 0-9, _, - and .")
    }
}
