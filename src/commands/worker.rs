//! `worker`: runs the stream consumer without the API.

use clap::Args;

use super::logging::start_with_traces;
use crate::app::{consume, fresh_name, live_with_postgres, pool};
use crate::aws::Aws;
use crate::config::{DatabaseSettings, FeedSettings, HintBroker, HintSettings, MetricsSettings, TableSettings};
use crate::http::serve_metrics;
use crate::live::Live;
use crate::preflight::check_tables;
use crate::shutdown::Shutdown;
use crate::telemetry::TraceSettings;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    table: TableSettings,
    #[command(flatten)]
    feed: FeedSettings,
    #[command(flatten)]
    hints: HintSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = start_with_traces("info,aws_config=error", &options.traces)?;
    let aws = Aws::from_environment().await?;
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    let database = &options.database;
    let pool = match options.hints.hint_broker {
        HintBroker::Postgres if database.is_given() => {
            Some(pool(database.url()?, 1, Some(database.statement_timeout()))?)
        }
        HintBroker::Postgres => {
            // A warning and not an error, because earlier versions of `worker` did not need the database.
            tracing::warn!("DATABASE_URL is not set, so subscriptions receive messages up to 90 seconds late");
            None
        }
        HintBroker::None => None,
    };
    serve_metrics(&options.metrics, &shutdown).await?;
    check_tables(&aws, &table, true).await?;
    let live = match &pool {
        Some(pool) => live_with_postgres(pool.clone(), None, &shutdown)?,
        None => Live::in_process(),
    };
    consume(&aws, &table, options.feed.retention(), fresh_name(), live, &shutdown);
    tracing::info!(table, "stream consumer started");
    shutdown.requested().await?;
    tracing::info!("stopping");
    shutdown.finish().await;
    if let Some(pool) = pool {
        Users::new(pool).close().await;
    }
    traces.finish().await;
    Ok(shutdown.failure()?)
}
