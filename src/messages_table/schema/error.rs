//! Errors of creating, changing and dropping tables.

use std::time::Duration;

use crate::messages_table::error::TableError;

/// Why a table could not be created, changed or dropped.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A call failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The table did not reach a state in time.
    #[error("table {table} is still not {state} after {} s", waited.as_secs())]
    TooSlow {
        /// Name of the table.
        table: String,
        /// Expected state.
        state: &'static str,
        /// Time after which waiting stopped.
        waited: Duration,
    },
    /// Deletion protection is enabled.
    #[error(
        "table {table} is protected from deletion; to disable the protection run \
         aws dynamodb update-table --table-name {table} --no-deletion-protection-enabled"
    )]
    Protected {
        /// Name of the table.
        table: String,
    },
}
