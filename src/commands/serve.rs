//! `serve`: runs the API and the stream consumer with the configured stores.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::logging::start_with_traces;
use crate::app::{ApiParts, RequestParts, consume, fresh_name, live_with_postgres, pool, serve};
use crate::aws::Aws;
use crate::config::{
    CognitoSettings, DatabaseSettings, FeedSettings, HintBroker, HintSettings, HttpSettings, ListenSettings,
    MetricsSettings, RegistrationSettings, RequestSettings, TableSettings, WebSettings,
};
use crate::environment::SystemEnvironment;
use crate::http::serve_metrics;
use crate::live::Live;
use crate::preflight::{check_migrations, check_tables};
use crate::registration::Registrar;
use crate::shutdown::Shutdown;
use crate::telemetry::TraceSettings;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    requests: RequestSettings,
    #[command(flatten)]
    web: WebSettings,
    #[command(flatten)]
    metrics: MetricsSettings,
    #[command(flatten)]
    traces: TraceSettings,
    #[command(flatten)]
    table: TableSettings,
    #[command(flatten)]
    feed: FeedSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    hints: HintSettings,
    #[command(flatten)]
    listen: ListenSettings,
    #[command(flatten)]
    cognito: CognitoSettings,
    #[command(flatten)]
    registration: RegistrationSettings,
    /// Run the API without the stream consumer; another process must run the consumer
    #[arg(long)]
    no_worker: bool,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = start_with_traces("info,aws_config=error", &options.traces)?;
    let issuer = options.cognito.issuer()?;
    let web_client = options.web.client(&issuer)?;
    let database = &options.database;
    let pool = pool(database.url()?, database.database_max_connections, Some(database.statement_timeout()))?;
    let listen_url = options.listen.url(database)?;
    let aws = Aws::from_environment().await?;
    let requests = RequestParts::read(&options.requests)?;
    let address = options.http.listen_addr;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (LISTEN_ADDR)"))?;

    let users = Users::new(pool).with_query_timeout(database.query_timeout());
    let user_info_url = options.registration.user_info_url()?;
    let registrar = || Registrar::new(&issuer.issuer, user_info_url, users.clone(), Arc::new(SystemEnvironment));
    let registrar = options.registration.register_users.then(registrar).transpose();
    let registrar = registrar.context("the HTTP client of REGISTER_USERS cannot be built")?;
    let table = options.table.ddb_message_table;
    let shutdown = Shutdown::default();
    let introspection = options.http.graphql_introspection.unwrap_or(false);
    serve_metrics(&options.metrics, &shutdown).await?;
    if let Err(error) = tokio::try_join!(check_tables(&aws, &table, !options.no_worker), check_migrations(&users)) {
        users.close().await;
        return Err(error);
    }
    let live = match options.hints.hint_broker {
        HintBroker::Postgres => live_with_postgres(users.pool().clone(), Some(listen_url), &shutdown)?,
        HintBroker::None => Live::in_process(),
    };
    let consume = || consume(&aws, &table, options.feed.retention(), fresh_name(), live.clone(), &shutdown);
    let consumer = (!options.no_worker).then(consume);
    let parts = ApiParts {
        aws: aws.clone(),
        table: table.clone(),
        users: users.clone(),
        issuer,
        requests,
        introspection,
        feed_retention: options.feed.retention(),
        live,
        consumer,
        registrar,
        web_client,
        graphiql_token: None,
        sign_in: None,
    };
    let address = listener.local_addr()?;
    serve(parts, listener, &shutdown).await?;
    tracing::info!(%address, table, worker = !options.no_worker, "API started");
    shutdown.requested().await?;
    tracing::info!("stopping");
    shutdown.finish().await;
    users.close().await;
    traces.finish().await;
    Ok(shutdown.failure()?)
}
