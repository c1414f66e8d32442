//! Checks before a process starts. If only an operator can solve a problem, the start fails and names the command. If a store is
//! unreachable, the process starts and is not ready until the store is available.

use std::time::Duration;

use anyhow::bail;
use sqlx::migrate::{Migrate, MigrateError};

use crate::aws::Aws;
use crate::messages_table::schema::{describe, faults, leases_table_name, time_to_live};
use crate::messages_table::{MessagesTable, TableError};
use crate::report;
use crate::users::{MIGRATIONS, Users, is_undefined_table};

/// Time limit of each check.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Checks the messages table, and the consumer's table if this process runs the consumer.
pub async fn check_tables(aws: &Aws, table: &str, consumes: bool) -> anyhow::Result<()> {
    aws.credentials_account().await?;
    let leases = leases_table_name(table);
    for name in [Some(table), consumes.then_some(leases.as_str())].into_iter().flatten() {
        let described = tokio::time::timeout(TIMEOUT, describe(&aws.dynamodb, name)).await;
        match described {
            Ok(Ok(Some(found))) if name == table => {
                if let Some(fault) = faults(&found).first() {
                    bail!("table {name} is wrong: {fault}; run `ddb schema-load` (DDB_MESSAGE_TABLE)");
                }
                check_time_to_live(aws, name).await;
                warn_of_legacy_groups(&MessagesTable::new(aws.dynamodb.clone(), name)).await;
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => bail!("table {name} does not exist: run `ddb schema-load` (DDB_MESSAGE_TABLE)"),
            Ok(Err(error @ (TableError::Unavailable { .. } | TableError::Refused { .. }))) => {
                tracing::warn!(error = report(&error), table = name, "checking the table failed");
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => tracing::warn!(table = name, "checking the table timed out"),
        }
    }
    Ok(())
}

/// Warns if expired items stay in the messages table. This takes space, but the program works.
async fn check_time_to_live(aws: &Aws, table: &str) {
    match tokio::time::timeout(TIMEOUT, time_to_live(&aws.dynamodb, table)).await {
        Ok(Ok(found)) if found.is_missing() => tracing::warn!(
            table,
            %found,
            "time to live does not delete expired items, run `ddb schema-load`"
        ),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = report(&error), table, "checking the time to live failed"),
        Err(_) => tracing::warn!(table, "checking the time to live timed out"),
    }
}

/// Logs that requests look for legacy rows. A problem with the read itself shows in readiness.
async fn warn_of_legacy_groups(table: &MessagesTable) {
    if let Ok(Ok(false)) = tokio::time::timeout(TIMEOUT, table.legacy_is_adopted()).await {
        tracing::warn!(
            table = table.name(),
            "requests look for groups of the legacy system until `ddb adopt-legacy` has adopted them"
        );
    }
}

/// Checks that the database is migrated.
pub async fn check_migrations(users: &Users) -> anyhow::Result<()> {
    let look = async {
        // Unlike a connection of `users.pool()`, it cannot wait for the server for good if this check times out.
        let mut connection = users.connection().await.map_err(|error| MigrateError::Source(error.into()))?;
        connection.list_applied_migrations(&MIGRATIONS.table_name).await
    };
    let applied = match tokio::time::timeout(TIMEOUT, look).await {
        Ok(Ok(applied)) => applied,
        Ok(Err(error)) if is_never_migrated(&error) => Vec::new(),
        Ok(Err(error)) => {
            tracing::warn!(error = report(&error), "checking the migrations failed");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("checking the migrations timed out");
            return Ok(());
        }
    };
    let mut missing = 0;
    for migration in MIGRATIONS.iter() {
        match applied.iter().find(|it| it.version == migration.version) {
            Some(applied) if applied.checksum == migration.checksum => {}
            // Every program that uses sqlx has a table of this name.
            Some(_) => bail!(
                "migration {} in public._sqlx_migrations is from another program: use another database (DATABASE_URL)",
                migration.version
            ),
            None => missing += 1,
        }
    }
    if missing > 0 {
        bail!("the database lacks {missing} migrations: run `db migrate` (DATABASE_URL)");
    }
    check_handles(users).await
}

/// Checks that no two users can have the same handle.
pub async fn check_handles(users: &Users) -> anyhow::Result<()> {
    match users.handles_are_unique().await {
        Ok(true) => Ok(()),
        Ok(false) => bail!(
            "the unique index on public.users (handle) is missing or invalid: drop users_handle_key if it exists, and create \
             a unique index of this name (DATABASE_URL)"
        ),
        Err(error) => {
            tracing::warn!(error = report(&error), "checking the index on the handles failed");
            Ok(())
        }
    }
}

/// The migrator wraps the error of the database.
fn is_never_migrated(error: &MigrateError) -> bool {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
        .filter_map(|error| error.downcast_ref())
        .any(is_undefined_table)
}
