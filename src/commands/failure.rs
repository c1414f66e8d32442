//! How a command ends that did not do what it was asked: one line that names what to mend, and an exit status.

use std::error::Error;

use crate::cognito::CognitoError;
use crate::config::SettingError;
use crate::messages_table::TableError;
use crate::messages_table::schema::SchemaError;
use crate::seed::SeedError;
use crate::stream::effect::EffectError;
use crate::stream::source::StreamError;
use crate::users::{UsersError, is_undefined_table};

/// It failed.
pub const FAILED: u8 = 1;
/// It was used wrongly, a setting is missing or wrong, or it refuses for want of a flag. The status is clap's.
pub const USAGE: u8 = 2;
/// It is done, but for what it leaves to the operator.
pub const LEFT_OVER: u8 = 3;

/// The command does not do this without being told more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The command did what it does, and something is left for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeftOver(pub String);

/// The exit status of an error.
pub fn status(error: &anyhow::Error) -> u8 {
    if error.is::<Refused>() || error.is::<SettingError>() {
        USAGE
    } else if error.is::<LeftOver>() {
        LEFT_OVER
    } else {
        FAILED
    }
}

/// What a command works on, so that an error can name it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The messages table.
    pub table: Option<String>,
    /// The endpoint of DynamoDB.
    pub dynamodb: Option<String>,
    /// The setting that says so.
    pub dynamodb_setting: Option<&'static str>,
    /// Host, port and name of the database.
    pub postgres: Option<String>,
    /// The endpoint of Cognito.
    pub cognito: Option<String>,
}

/// AWS does not know who asks.
const BAD_CREDENTIALS: [&str; 6] = [
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "MissingAuthenticationTokenException",
    "InvalidClientTokenId",
];

impl Place {
    /// The error as one clear line that names the setting behind it.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let explained = error.chain().find_map(|cause| {
            if let Some(cause) = table_error(cause) {
                self.of_table(cause)
            } else if let Some(cause) = cause.downcast_ref::<StreamError>() {
                self.of_stream(cause)
            } else if let Some(cause) = users_error(cause) {
                Some(self.of_users(cause))
            } else if let Some(cause) = cause.downcast_ref::<sqlx::migrate::MigrateError>() {
                Some(self.of_migration(cause))
            } else {
                cause.downcast_ref::<CognitoError>().map(|cause| self.of_cognito(cause))
            }
        });
        explained.map_or(error, anyhow::Error::msg)
    }

    fn dynamodb(&self) -> &str {
        self.dynamodb.as_deref().unwrap_or("its endpoint")
    }

    fn of_table(&self, error: &TableError) -> Option<String> {
        let (at, table) = (self.dynamodb(), self.table.as_deref().unwrap_or_default());
        Some(match error {
            TableError::Unavailable { code: None, .. } => {
                format!("DynamoDB at {at} cannot be reached ({})", self.dynamodb_setting.unwrap_or("AWS_REGION"))
            }
            TableError::Unavailable { code: Some(code), operation, .. } => {
                format!("{operation}: DynamoDB at {at} is too busy: {code}")
            }
            TableError::Refused { code: Some(code), .. } if code == "ResourceNotFoundException" => format!(
                "table {table} or its {table}-leases is not there at {at}: \
                 is DDB_MESSAGE_TABLE right, and has `ddb schema-load` been run?"
            ),
            TableError::Refused { code: Some(code), operation, .. } => refused("DynamoDB", operation, code, error),
            TableError::Refused { code: None, operation, .. } => {
                format!("{operation}: DynamoDB at {at} gave no answer that could be read: {}", root(error))
            }
            TableError::Invalid { operation, .. } => format!("{operation}: {}", root(error)),
            TableError::Item(_) => return None,
        })
    }

    fn of_stream(&self, error: &StreamError) -> Option<String> {
        let (at, table) = (self.dynamodb(), self.table.as_deref().unwrap_or_default());
        match error {
            // What is below it says more.
            StreamError::Unavailable { source, .. } | StreamError::Refused { source, .. }
                if source.downcast_ref::<TableError>().is_some() =>
            {
                None
            }
            StreamError::Unavailable { .. } => Some(format!("the streams of DynamoDB at {at} cannot be reached")),
            StreamError::Gone { .. } => {
                Some(format!("table {table} is not there at {at}, or has no stream: run `ddb schema-load`"))
            }
            StreamError::Refused { operation, .. } => Some(format!("{operation}: {}", root(error))),
            StreamError::IteratorExpired | StreamError::Trimmed => None,
        }
    }

    fn of_users(&self, error: &UsersError) -> String {
        let at = self.postgres.as_deref().unwrap_or("its host");
        match error {
            UsersError::Unavailable(_) => {
                format!("PostgreSQL at {at} cannot be reached (DATABASE_URL): {}", root(error))
            }
            UsersError::Refused(cause) if is_undefined_table(cause) => {
                format!("PostgreSQL at {at} has no table of users: run `db migrate` (DATABASE_URL)")
            }
            UsersError::Refused(_) => format!("PostgreSQL at {at} refused (DATABASE_URL): {}", root(error)),
        }
    }

    fn of_migration(&self, error: &sqlx::migrate::MigrateError) -> String {
        let at = self.postgres.as_deref().unwrap_or("its host");
        match error {
            sqlx::migrate::MigrateError::Execute(_) | sqlx::migrate::MigrateError::ExecuteMigration(..) => {
                format!("PostgreSQL at {at}: the migrations did not run (DATABASE_URL): {}", root(error))
            }
            other => format!("PostgreSQL at {at} has other migrations than this program (DATABASE_URL): {other}"),
        }
    }

    fn of_cognito(&self, error: &CognitoError) -> String {
        let at = self.cognito.as_deref().unwrap_or("its endpoint");
        match error {
            CognitoError::Unreachable(_) => {
                format!("Cognito at {at} cannot be reached (AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER)")
            }
            CognitoError::Refused { code, .. } if code == "ResourceNotFoundException" => {
                format!("Cognito at {at} has no such user pool (AWS_COGNITO_USER_POOL_ID)")
            }
            CognitoError::Refused { code, .. } => refused("Cognito", "ListUsers", code, error),
            CognitoError::Incomplete(_) => error.to_string(),
        }
    }
}

/// The error of the table that an error is, under whichever name.
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

fn users_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a UsersError> {
    match error.downcast_ref() {
        Some(SeedError::Users(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn refused(service: &str, operation: &str, code: &str, error: &dyn Error) -> String {
    if BAD_CREDENTIALS.contains(&code) {
        return format!(
            "{service} does not know the credentials ({code}): AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        );
    }
    if code == "AccessDeniedException" {
        return format!("the credentials have no right to {operation} (AWS_PROFILE): {}", root(error));
    }
    format!("{operation}: {service} refused: {}", root(error))
}

/// The innermost cause, which says most.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
