//! `worker`: runs the stream consumer without the API.

use clap::Args;

use super::logging::start_with_traces;
use crate::app::{consume, fresh_name};
use crate::aws::Aws;
use crate::config::{FeedSettings, MetricsSettings, TableSettings};
use crate::http::serve_metrics;
use crate::preflight::check_tables;
use crate::shutdown::Shutdown;
use crate::telemetry::TraceSettings;

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
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = start_with_traces("info,aws_config=error", &options.traces)?;
    let aws = Aws::from_environment().await?;
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    serve_metrics(options.metrics.metrics_addr, &shutdown).await?;
    check_tables(&aws, &table, true).await?;
    consume(&aws, &table, options.feed.retention(), fresh_name(), &shutdown);
    tracing::info!(table, "consuming");
    shutdown.requested().await?;
    tracing::info!("stopping");
    shutdown.finish().await;
    traces.finish().await;
    Ok(shutdown.failure()?)
}
