//! `worker`: the stream consumer alone.

use clap::Args;

use crate::app::{consume, fresh_name};
use crate::aws::Aws;
use crate::config::{MetricsSettings, TableSettings};
use crate::metrics;
use crate::shutdown::{self, Shutdown};

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    table: TableSettings,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("info,aws_config=error")?;
    let aws = Aws::from_environment().await?;
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    metrics::serve(options.metrics.metrics_addr, &shutdown).await?;
    consume(&aws, &table, fresh_name(), &shutdown);
    tracing::info!(table, "consuming");
    shutdown::signal().await?;
    tracing::info!("stopping");
    if !shutdown.finish().await {
        tracing::warn!("not everything finished in time");
    }
    Ok(())
}
