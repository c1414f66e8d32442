//! `dev`: runs everything in one process, including DynamoDB and PostgreSQL.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::logging::start_with_traces;
use crate::app::{ApiParts, RequestParts, consume, serve};
use crate::aws::Aws;
use crate::config::{FeedSettings, HttpSettings, MetricsSettings, RequestSettings, TableSettings, WebSettings};
use crate::embedded::data_dir::DataDir;
use crate::embedded::dynamodb::EmbeddedDynamoDb;
use crate::embedded::issuer::LocalIssuer;
use crate::embedded::postgres::EmbeddedPostgres;
use crate::embedded::sign_in;
use crate::http::serve_metrics;
use crate::live::Live;
use crate::messages_table::MessagesTable;
use crate::messages_table::schema::{Billing, load_leases_table, load_messages_table};
use crate::seed::{local_cognito_user_id, seed_messages, seed_users, user_uuids};
use crate::shutdown::Shutdown;
use crate::telemetry::TraceSettings;
use crate::users::Users;

/// Preferred ports of the stores. The commands for operators use these ports by default. If one is in use, `dev` uses a free
/// port.
const DYNAMODB_PORT: u16 = 8000;
const POSTGRES_PORT: u16 = 55432;

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
    /// Folder for all data
    #[arg(long, env = "CRUDDUR_DATA_DIR", value_name = "CRUDDUR_DATA_DIR", default_value = ".cruddur")]
    data_dir: PathBuf,
    /// Delete the data of earlier runs before starting
    #[arg(long)]
    fresh: bool,
}

/// The address at which `token` reaches a running `dev`, because `dev` holds the only connection to its PostgreSQL.
#[derive(Serialize, Deserialize)]
pub struct Running {
    /// Base URL: `GET {users_url}/{handle}` returns the `cognito_user_id`.
    pub users_url: String,
}

impl Running {
    /// Returns the path of the file in `data_dir` that holds this value.
    pub fn file(data_dir: &std::path::Path) -> PathBuf {
        data_dir.join("dev.json")
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let traces = start_with_traces(
        "warn,dynoxide=error,sqlx=error,cruddur_messaging=info,cruddur_messaging::http=warn",
        &options.traces,
    )?;
    let address = options.http.listen_addr;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (LISTEN_ADDR)"))?;
    let data_dir = DataDir::open(&options.data_dir)?;
    if options.fresh {
        data_dir.clear()?;
    }
    let engines = Engines::start(&data_dir).await?;
    let shutdown = Shutdown::default();
    let signal = shutdown.requested();
    tokio::pin!(signal);
    // Ctrl-C also interrupts the start.
    let started = tokio::select! {
        started = start(&options, &data_dir, &engines, listener, &shutdown) => Some(started),
        signalled = &mut signal => signalled.map(|()| None)?,
    };
    let outcome = match started {
        Some(Ok(())) => signal.await.map_err(Into::into),
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    if outcome.is_ok() {
        println!("Stopping.");
    }
    shutdown.finish().await;
    engines.stop().await;
    traces.finish().await;
    // If the file cannot be removed, the next start overwrites it.
    let _ = fs::remove_file(Running::file(data_dir.path()));
    outcome.and_then(|()| Ok(shutdown.failure()?))
}

/// The embedded stores, and the users table.
struct Engines {
    dynamodb: EmbeddedDynamoDb,
    postgres: EmbeddedPostgres,
    users: Users,
}

impl Engines {
    async fn start(data_dir: &DataDir) -> anyhow::Result<Self> {
        let dynamodb_listener = bind_preferring(DYNAMODB_PORT).await?;
        let dynamodb = EmbeddedDynamoDb::start(Some(&data_dir.dynamodb()), dynamodb_listener)?;
        let postgres_listener = bind_preferring(POSTGRES_PORT).await?;
        let postgres = EmbeddedPostgres::start(Some(data_dir.postgres()), postgres_listener).await?;
        let users = Users::new(postgres.pool()?);
        Ok(Self { dynamodb, postgres, users })
    }

    async fn stop(self) {
        self.users.close().await;
        self.postgres.stop().await;
        self.dynamodb.stop().await;
    }
}

/// Binds `port` on 127.0.0.1, or a free port if `port` is in use.
async fn bind_preferring(port: u16) -> anyhow::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(at(port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await.context("no free port on 127.0.0.1"),
    }
}

/// Creates the schema, writes the seed data, starts the API and the consumer, and prints their addresses.
async fn start(
    options: &Options,
    data_dir: &DataDir,
    engines: &Engines,
    listener: TcpListener,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    // Before the first call to DynamoDB, because each counter is looked up once.
    serve_metrics(&options.metrics, shutdown).await?;
    let Engines { dynamodb, users, .. } = engines;
    let table = &options.table.ddb_message_table;
    let aws = Aws::local(dynamodb.url()).await;
    users.migrate().await.context("the migrations failed")?;
    load_messages_table(&aws.dynamodb, table, Billing::FREE_TIER).await?;
    load_leases_table(&aws.dynamodb, table, Billing::FREE_TIER).await?;
    seed_users(users, local_cognito_user_id).await?;
    seed_messages(&MessagesTable::new(aws.dynamodb.clone(), table), users).await?;

    let issuer = Arc::new(LocalIssuer::open(&DataDir::token_key(data_dir.path()))?);
    let mut tokens = Vec::new();
    for (handle, id) in users.token_subjects(&user_uuids()).await? {
        tokens.push((handle, issuer.token(&id)?));
    }
    // The consumer always has the same name, so it takes the leases of an earlier run at once, even if that run crashed. This is
    // safe, because only one process uses the data folder.
    let live = Live::in_process();
    let consumer = consume(&aws, table, options.feed.retention(), "dev".to_owned(), live.clone(), shutdown);
    let token_issuer = issuer.serve(shutdown.token()).await?;
    let first_token = tokens.first().map(|(_, token)| token.clone());
    let parts = ApiParts {
        aws: aws.clone(),
        table: table.clone(),
        users: users.clone(),
        registrar: None,
        web_client: options.web.local_client(&token_issuer),
        issuer: token_issuer,
        requests: RequestParts::read(&options.requests)?,
        introspection: options.http.graphql_introspection.unwrap_or(true),
        feed_retention: options.feed.retention(),
        live,
        consumer: Some(consumer),
        graphiql_token: first_token,
        sign_in: Some(sign_in::router(issuer, users.clone(), user_uuids().into())),
    };
    let address = listener.local_addr()?;
    serve(parts, listener, shutdown).await?;
    let running = Running { users_url: serve_users(users.clone(), shutdown).await? };
    fs::write(Running::file(data_dir.path()), serde_json::to_vec(&running)?)?;
    print!("{}", welcome(address, data_dir, engines, &tokens));
    Ok(())
}

/// Serves the `cognito_user_id`s of users on a free port of 127.0.0.1, for `token`. Returns the base URL.
async fn serve_users(users: Users, shutdown: &Shutdown) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
    let url = format!("http://{}/users", listener.local_addr()?);
    let handler = async move |Path(handle): Path<String>| match users.cognito_user_id(&handle).await {
        Ok(id) => Ok(Json(id)),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, crate::report(&error))),
    };
    let router = Router::new().route("/users/{handle}", get(handler));
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.token().cancelled_owned());
    shutdown.spawn_critical("server of user ids", server.into_future());
    Ok(url)
}

/// Returns the text that `dev` prints when it is ready: addresses, access tokens and an example request.
fn welcome(address: SocketAddr, data_dir: &DataDir, engines: &Engines, tokens: &[(String, String)]) -> String {
    let is_local = address.ip().is_loopback();
    // Not every browser connects to an unspecified address, and only `localhost` is signed in.
    let address = match address.ip().is_unspecified() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    };
    let mut text = format!(
        "\nReady.\n\n\
         \x20 Messages    http://{address}/\n\
         \x20 GraphiQL    http://{address}/graphiql   ({graphiql})\n\
         \x20 GraphQL     http://{address}/graphql\n\
         \x20 DynamoDB    {dynamodb}\n\
         \x20 PostgreSQL  {postgres}   (accepts one connection at a time: while psql is open, the API waits)\n\
         \x20 Data        {data}\n\n\
         Access tokens, valid for 30 days:\n\n",
        graphiql = if is_local {
            format!("signed in as {}", tokens.first().map_or("nobody", |(handle, _)| handle))
        } else {
            "signed in only on this machine, at localhost, where the web client also signs in".to_owned()
        },
        dynamodb = engines.dynamodb.url(),
        postgres = engines.postgres.url(),
        data = data_dir.path().display(),
    );
    for (handle, token) in tokens {
        text.push_str(&format!("{handle}\n{token}\n\n"));
    }
    if let Some((_, token)) = tokens.first() {
        text.push_str(&format!(
            "Try it:\n\n\
             curl -s http://{address}/graphql -H 'Content-Type: application/json' \\\n\
             \x20 -H 'Authorization: Bearer {token}' \\\n\
             \x20 -d '{{\"query\":\"{{ messageGroups {{ nodes {{ uuid otherParticipant {{ handle }} \
             lastMessage {{ body }} }} }} }}\"}}'\n\n\
             Ctrl-C stops the program.\n",
        ));
    }
    text
}
