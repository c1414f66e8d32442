//! `serve`: runs the API and the stream consumer with the configured stores.

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::api::ApiOptions;
use super::logging::start_with_traces;
use crate::app::{ApiParts, consume, fresh_name, pool, serve};
use crate::aws::Aws;
use crate::config::MetricsSettings;
use crate::config::cognito::CognitoSettings;
use crate::config::stores::{DatabaseSettings, TableSettings};
use crate::metrics;
use crate::preflight::{check_migrations, check_tables};
use crate::shutdown::{self, Shutdown};
use crate::telemetry::TraceSettings;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    api: ApiOptions,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    table: TableSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    cognito: CognitoSettings,
    /// Run the API without the stream consumer; other processes must run it
    #[arg(long)]
    no_worker: bool,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = start_with_traces("info,aws_config=error", &options.traces)?;
    let issuer = options.cognito.issuer()?;
    let pool = pool(options.database.url()?, options.database.database_max_connections)?;
    let aws = Aws::from_environment().await?;
    let trusted_documents = options.api.trusted_documents()?;
    let address = options.api.settings.listen_addr;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (LISTEN_ADDR)"))?;

    let users = Users::new(pool);
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    let introspection = options.api.settings.graphql_introspection.unwrap_or(false);
    metrics::serve(options.metrics.metrics_addr, &shutdown).await?;
    if let Err(error) = tokio::try_join!(check_tables(&aws, &table, !options.no_worker), check_migrations(&users)) {
        users.close().await;
        return Err(error);
    }
    let consumer = (!options.no_worker).then(|| consume(&aws, &table, fresh_name(), &shutdown));
    let parts = ApiParts {
        aws: aws.clone(),
        table: table.clone(),
        users: users.clone(),
        issuer,
        limits: options.api.http_limits,
        document_limits: options.api.document_limits,
        trusted_documents,
        introspection,
        messages_per_minute: options.api.settings.messages_per_minute,
        consumer,
        graphiql_token: None,
    };
    let address = listener.local_addr()?;
    serve(parts, listener, &shutdown).await?;
    tracing::info!(%address, table, worker = !options.no_worker, "serving");
    shutdown::signal().await?;
    tracing::info!("stopping");
    if !shutdown.finish().await {
        tracing::warn!("not everything finished in time");
    }
    users.close().await;
    traces.finish().await;
    Ok(())
}
