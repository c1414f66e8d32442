//! What is looked at before a process begins. What only an operator can mend refuses the start, with the command that does;
//! what is merely unreachable may come back, so the process begins without it and is not ready.

use std::time::Duration;

use anyhow::bail;
use sqlx::migrate::Migrate;

use crate::aws::Aws;
use crate::messages_table::TableError;
use crate::messages_table::schema::{describe, faults, leases_table_name};
use crate::report;
use crate::users::{MIGRATIONS, Users, is_undefined_table};

/// How long a store may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(4);

/// Looks at the tables, and at the consumer's own where `consumes`.
pub async fn check_tables(aws: &Aws, table: &str, consumes: bool) -> anyhow::Result<()> {
    aws.credentials_account().await?;
    let leases = leases_table_name(table);
    for name in [Some(table), consumes.then_some(leases.as_str())].into_iter().flatten() {
        let described = tokio::time::timeout(PATIENCE, describe(&aws.dynamodb, name)).await;
        match described {
            Ok(Ok(Some(found))) if name == table => {
                if let Some(fault) = faults(&found).first() {
                    bail!("table {name} is not as it should be: {fault}; see `ddb schema-load` (DDB_MESSAGE_TABLE)");
                }
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => bail!("table {name} is not there: run `ddb schema-load` (DDB_MESSAGE_TABLE)"),
            Ok(Err(error @ (TableError::Unavailable { .. } | TableError::Refused { .. }))) => {
                tracing::warn!(error = report(&error), table = name, "the table could not be looked at");
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => tracing::warn!(table = name, "the table could not be looked at in time"),
        }
    }
    Ok(())
}

/// Looks at the migrations of the database.
pub async fn check_migrations(users: &Users) -> anyhow::Result<()> {
    let look = async {
        let mut connection = users.pool().acquire().await?;
        connection.list_applied_migrations(&MIGRATIONS.table_name).await
    };
    let applied = match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(applied)) => applied,
        Ok(Err(error)) if is_never_migrated(&error) => Vec::new(),
        Ok(Err(error)) => {
            tracing::warn!(error = report(&error), "the migrations could not be looked at");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("the migrations could not be looked at in time");
            return Ok(());
        }
    };
    let is_missing = |version: i64| applied.iter().all(|it| it.version != version);
    match MIGRATIONS.iter().filter(|migration| is_missing(migration.version)).count() {
        0 => Ok(()),
        some => bail!("the database is {some} migrations behind: run `db migrate` (DATABASE_URL)"),
    }
}

/// The migrator wraps what the database says.
fn is_never_migrated(error: &sqlx::migrate::MigrateError) -> bool {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
        .filter_map(|error| error.downcast_ref())
        .any(is_undefined_table)
}
