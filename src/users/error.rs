//! Errors of queries for users.

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Postgres is unreachable, starting, stopping, or has no free connection, or the connection of the query is unusable. A
    /// retry can succeed.
    #[error("PostgreSQL is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres rejected the query: a bug, or a wrong schema.
    #[error("PostgreSQL rejected the query")]
    Refused(#[source] sqlx::Error),
}

/// Whether a query failed because a table does not exist: the database is not migrated.
pub fn is_undefined_table(error: &sqlx::Error) -> bool {
    // undefined_table. Source: PostgreSQL documentation, appendix A.
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}

/// Whether only the connection makes a query fail, so that another connection can succeed:
/// - its prepared statement returns columns of other types since the table was altered;
/// - its server became a standby in a failover, and accepts only reads.
pub fn is_of_connection(error: &sqlx::Error) -> bool {
    // feature_not_supported and read_only_sql_transaction. Source: PostgreSQL documentation, appendix A.
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["0A000", "25006"].contains(&&*code))
}

impl From<sqlx::Error> for UsersError {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            error if is_of_connection(error) => true,
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => true,
            // Classes 08 connection exception, 53 insufficient resources, 57 operator intervention, 58 system error.
            // Source: PostgreSQL documentation, appendix A.
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)))
            }
            _ => false,
        };
        if passing { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}
