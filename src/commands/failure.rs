//! Errors of commands: each has one line of text, which names the setting to check, and an exit status.

use std::error::Error;

use crate::cognito::CognitoError;
use crate::config::SettingError;
use crate::messages_table::TableError;
use crate::messages_table::schema::SchemaError;
use crate::seed::SeedError;
use crate::stream::effect::EffectError;
use crate::stream::source::StreamError;
use crate::users::{UsersError, is_undefined_table};

/// Exit status of a command that failed.
pub const FAILED: u8 = 1;
/// Exit status for wrong usage, a missing or wrong setting, or a missing flag. It equals that of clap.
pub const USAGE: u8 = 2;
/// Exit status of a command that succeeded only partially, so that the operator must act.
pub const LEFT_OVER: u8 = 3;

/// The command did nothing, because a flag is missing or wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The command succeeded only partially. The text says what the operator must do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeftOver(pub String);

/// Returns the exit status for an error.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() || error.is::<SettingError>() {
        USAGE
    } else if error.is::<LeftOver>() {
        LEFT_OVER
    } else {
        FAILED
    }
}

/// The table and the endpoints that a command uses. Errors name them.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Name of the messages table.
    pub table: Option<String>,
    /// Endpoint of DynamoDB.
    pub dynamodb: Option<String>,
    /// Setting that selects the endpoint of DynamoDB.
    pub dynamodb_setting: Option<&'static str>,
    /// Host, port and name of the PostgreSQL database.
    pub postgres: Option<String>,
    /// Endpoint of Cognito.
    pub cognito: Option<String>,
}

/// Error codes of AWS for credentials that are unknown, expired or wrong.
const CREDENTIALS_REJECTED: [&str; 6] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "MissingAuthenticationTokenException",
    "InvalidClientTokenId",
];

impl Endpoints {
    /// Replaces a known error with one line of text that names the endpoint and the setting to check.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let explained = error.chain().find_map(|cause| {
            if let Some(cause) = table_error(cause) {
                self.explain_table(cause)
            } else if let Some(cause) = cause.downcast_ref::<StreamError>() {
                self.explain_stream(cause)
            } else if let Some(cause) = users_error(cause) {
                Some(self.explain_users(cause))
            } else if let Some(cause) = cause.downcast_ref::<sqlx::migrate::MigrateError>() {
                Some(self.explain_migration(cause))
            } else {
                cause.downcast_ref::<CognitoError>().map(|cause| self.explain_cognito(cause))
            }
        });
        explained.map_or(error, anyhow::Error::msg)
    }

    fn dynamodb(&self) -> &str {
        self.dynamodb.as_deref().unwrap_or("its endpoint")
    }

    fn postgres(&self) -> &str {
        self.postgres.as_deref().unwrap_or("its host")
    }

    fn explain_table(&self, error: &TableError) -> Option<String> {
        let (at, table) = (self.dynamodb(), self.table.as_deref().unwrap_or_default());
        Some(match error {
            TableError::Unavailable { code: None, .. } => {
                format!("DynamoDB at {at} is unreachable: check {}", self.dynamodb_setting.unwrap_or("AWS_REGION"))
            }
            TableError::Unavailable { code: Some(code), operation, .. } => {
                format!("{operation}: DynamoDB at {at} is overloaded or throttles requests ({code}): try again later")
            }
            TableError::Refused { code: Some(code), .. } if code == "ResourceNotFoundException" => format!(
                "table {table} or {table}-leases does not exist at {at}: \
                 check DDB_MESSAGE_TABLE, or run `ddb schema-load`"
            ),
            TableError::Refused { code: Some(code), operation, .. } => rejected("DynamoDB", operation, code, error),
            TableError::Refused { code: None, operation, .. } => {
                format!("{operation}: the response of DynamoDB at {at} is unreadable: {}", root(error))
            }
            TableError::Invalid { operation, .. } => format!("{operation}: {}", root(error)),
            TableError::Item(_) | TableError::ListTooLong { .. } => return None,
        })
    }

    fn explain_stream(&self, error: &StreamError) -> Option<String> {
        let (at, table) = (self.dynamodb(), self.table.as_deref().unwrap_or_default());
        match error {
            // The table's error, which is a source of this error, is more specific.
            StreamError::Unavailable { source, .. } | StreamError::Refused { source, .. }
                if source.downcast_ref::<TableError>().is_some() =>
            {
                None
            }
            StreamError::Unavailable { .. } => Some(format!("DynamoDB Streams at {at} is unreachable")),
            StreamError::Gone { .. } => {
                Some(format!("table {table} does not exist at {at}, or its stream is disabled: run `ddb schema-load`"))
            }
            StreamError::Refused { operation, .. } => Some(format!("{operation}: {}", root(error))),
            StreamError::IteratorExpired | StreamError::Trimmed => None,
        }
    }

    fn explain_users(&self, error: &UsersError) -> String {
        let at = self.postgres();
        match error {
            UsersError::Unavailable(_) => format!("PostgreSQL at {at} is unreachable (DATABASE_URL): {}", root(error)),
            UsersError::Refused(cause) if is_undefined_table(cause) => {
                format!("PostgreSQL at {at} has no users table: run `db migrate`, or check DATABASE_URL")
            }
            UsersError::Refused(_) => {
                format!("PostgreSQL at {at} returned an error (DATABASE_URL): {}", database_problem(error))
            }
        }
    }

    fn explain_migration(&self, error: &sqlx::migrate::MigrateError) -> String {
        let at = self.postgres();
        match error {
            sqlx::migrate::MigrateError::Execute(_) | sqlx::migrate::MigrateError::ExecuteMigration(..) => {
                format!("PostgreSQL at {at}: the migrations failed (DATABASE_URL): {}", database_problem(error))
            }
            other => format!("PostgreSQL at {at} has migrations that this program does not (DATABASE_URL): {other}"),
        }
    }

    fn explain_cognito(&self, error: &CognitoError) -> String {
        let at = self.cognito.as_deref().unwrap_or("its endpoint");
        match error {
            CognitoError::Unreachable(_) => {
                format!("Cognito at {at} is unreachable: check AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER")
            }
            CognitoError::Refused { code, .. } if code == "ResourceNotFoundException" => {
                format!("Cognito at {at} has no such user pool: check AWS_COGNITO_USER_POOL_ID")
            }
            CognitoError::Refused { code, .. } => rejected("Cognito", "ListUsers", code, error),
            CognitoError::Incomplete(_) => error.to_string(),
        }
    }
}

/// Returns the [`TableError`] that `error` is or contains.
fn table_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TableError> {
    if let Some(SchemaError::Table(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(EffectError::Table(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(SeedError::Table(error)) = error.downcast_ref() {
        return Some(error);
    }
    error.downcast_ref()
}

/// Returns the [`UsersError`] that `error` is or contains.
fn users_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a UsersError> {
    match error.downcast_ref() {
        Some(SeedError::Users(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn rejected(service: &str, operation: &str, code: &str, error: &dyn Error) -> String {
    if CREDENTIALS_REJECTED.contains(&code) {
        return format!(
            "{service} rejected the credentials ({code}): check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        );
    }
    if code == "AccessDeniedException" {
        return format!("the credentials lack the permission for {operation} (AWS_PROFILE): {}", root(error));
    }
    format!("{operation}: {service} returned an error: {}", root(error))
}

/// Returns the message and the detail of an error of PostgreSQL, such as the value that two rows have. sqlx would add a line of
/// PostgreSQL's own source instead of the detail.
fn database_problem(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let postgres = causes.filter_map(|error| error.downcast_ref::<sqlx::Error>()).find_map(|error| {
        error.as_database_error().and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>())
    });
    match postgres {
        Some(error) => match (error.code(), error.detail()) {
            // lock_not_available. Source: PostgreSQL documentation, appendix A.
            ("55P03", _) => format!("{}: a transaction of another session uses the table", error.message()),
            (_, Some(detail)) => format!("{}: {detail}", error.message()),
            (_, None) => error.message().to_owned(),
        },
        None => root(error),
    }
}

/// Returns the text of the innermost cause, which is the most specific one.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
