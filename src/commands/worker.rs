//! `worker`: the stream consumer alone.

use clap::Args;

use crate::app::{consume, fresh_name};
use crate::aws::Aws;
use crate::config::{MetricsSettings, TableSettings};
use crate::metrics;
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
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = super::log_and_traces("info,aws_config=error", &options.traces)?;
    let aws = Aws::from_environment().await?;
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    metrics::serve(options.metrics.metrics_addr, &shutdown).await?;
    check_tables(&aws, &table, true).await?;
    consume(&aws, &table, fresh_name(), &shutdown);
    tracing::info!(table, "consuming");
    shutdown.requested().await?;
    tracing::info!("stopping");
    shutdown.finish().await;
    traces.finish().await;
    Ok(shutdown.failure()?)
}
