//! What a query for users can end in.

/// The end of a query that did not answer.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Postgres cannot be reached, is starting or stopping, or has no connection left: worth another try later.
    #[error("PostgreSQL is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres refused the query: a fault of the program or of the schema.
    #[error("PostgreSQL refused the query")]
    Refused(#[source] sqlx::Error),
}

/// Whether a query failed for want of a table: nobody has migrated the database.
pub fn is_undefined_table(error: &sqlx::Error) -> bool {
    // undefined_table. Source: PostgreSQL documentation, appendix A.
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P01"))
}

impl From<sqlx::Error> for UsersError {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
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
