//! Builds the API and the stream consumer from their parts.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::HeaderValue;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::auth::Verifier;
use crate::auth::keys::{COOLDOWN, KeySource};
use crate::aws::Aws;
use crate::config::{
    ConnectionLimits, DocumentLimits, HttpLimits, LiveLimits, RequestSettings, SettingError, TokenIssuer, WebClient,
};
use crate::documents::{Documents, TrustedDocuments};
use crate::environment::{Environment, SystemEnvironment};
use crate::graphql::{schema, sdl};
use crate::http::{self, Api, Connections, Readiness, Receiving, affordable, router};
use crate::live::Live;
use crate::live::broker::Outbox;
use crate::live::checker::Checker;
use crate::live::postgres::{PostgresBroker, PostgresListener};
use crate::messages_table::MessagesTable;
use crate::messaging::Messaging;
use crate::registration::Registrar;
use crate::shutdown::Shutdown;
use crate::stream::Consumer;
use crate::stream::appender::OnAppend;
use crate::stream::consumer_table::ConsumerTable;
use crate::stream::dynamodb::DynamoDbStream;
use crate::stream::health::Health;
use crate::users::Users;
use crate::users::connection::{connect_options, pool_options};

/// How often the gauges are recorded.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// What the API is built from.
pub struct ApiParts {
    /// Clients of DynamoDB.
    pub aws: Aws,
    /// Name of the messages table.
    pub table: String,
    /// Users in PostgreSQL.
    pub users: Users,
    /// Issuer of the access tokens.
    pub issuer: TokenIssuer,
    /// Which requests are accepted.
    pub requests: RequestParts,
    /// Whether clients may introspect.
    pub introspection: bool,
    /// How long feeds keep their entries. `None` if entries never expire.
    pub feed_retention: Option<Duration>,
    /// The live updates.
    pub live: Arc<Live>,
    /// The stream consumer of this process, if it runs one.
    pub consumer: Option<Arc<Health>>,
    /// Adds the users of new tokens, if the server registers users.
    pub registrar: Option<Registrar>,
    /// The web client, if the server serves it.
    pub web_client: Option<WebClient>,
    /// An access token that GraphiQL starts with.
    pub graphiql_token: Option<String>,
    /// Further routes: the sign-in of `dev`.
    pub sign_in: Option<Router>,
}

/// Which requests the API accepts.
#[derive(Default)]
pub struct RequestParts {
    /// Limits of connections.
    pub connections: ConnectionLimits,
    /// Limits of a request.
    pub http: HttpLimits,
    /// Limits of a document.
    pub documents: DocumentLimits,
    /// Limits of live updates.
    pub live: LiveLimits,
    /// Origins whose pages may use the API from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// The only documents that the server executes, if there is a manifest.
    pub trusted_documents: Option<TrustedDocuments>,
}

impl RequestParts {
    /// Checks the settings and reads the manifest that they name.
    pub fn read(settings: &RequestSettings) -> Result<Self, SettingError> {
        let read = |path: &PathBuf| {
            let wrong = |problem: &dyn Display| {
                SettingError::wrong("TRUSTED_DOCUMENTS", format!("cannot be read from {}: {problem}", path.display()))
            };
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            TrustedDocuments::read(&text).map_err(|error| wrong(&error))
        };
        Ok(Self {
            connections: settings.connections.clone(),
            http: settings.http.clone(),
            documents: settings.documents.clone(),
            live: settings.live.clone(),
            cors_origins: settings.cors.origins()?,
            trusted_documents: settings.trusted_documents.as_ref().map(read).transpose()?,
        })
    }
}

/// A pool that connects at its first use: the process starts also while PostgreSQL is unavailable. PostgreSQL cancels a
/// statement that takes longer than `statement_timeout`.
pub fn pool(url: &str, max_connections: u32, statement_timeout: Option<Duration>) -> Result<PgPool, SettingError> {
    let wrong = |error| SettingError::wrong("DATABASE_URL", format!("cannot be read: {error}"));
    let options = connect_options(url).map_err(wrong)?;
    Ok(pool_options(max_connections, statement_timeout).connect_lazy_with(options))
}

/// Serves the API on `listener` until the shutdown. Requests that run then are finished.
pub async fn serve(parts: ApiParts, listener: TcpListener, shutdown: &Shutdown) -> anyhow::Result<()> {
    let environment: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    let TokenIssuer { issuer, client_id, jwks_url, key_grace } = parts.issuer;
    let keys = KeySource::new(jwks_url, COOLDOWN, key_grace, environment.clone())
        .context("the HTTP client for COGNITO_JWKS_URL cannot be built")?;
    let verifier = Arc::new(Verifier::new(&issuer, client_id, keys, environment.clone()));
    let (refreshed, stop) = (verifier.clone(), shutdown.token());
    shutdown.spawn(async move { refreshed.keys().keep_fresh(stop).await });

    let RequestParts {
        connections,
        http: limits,
        documents: document_limits,
        live: live_limits,
        cors_origins,
        trusted_documents,
    } = parts.requests;
    let connection_limits = affordable(connections, limits.store_calls);
    let receiving = Receiving::new(&connection_limits);
    let connections = Connections::new(connection_limits);
    let documents = Documents::new(&sdl(), document_limits, parts.introspection, trusted_documents)
        .map_err(|problem| SettingError::wrong("TRUSTED_DOCUMENTS", format!("cannot be used: {problem}")))?;
    let table = MessagesTable::new(parts.aws.dynamodb, parts.table);
    let table = table.with_max_legacy_read_units(limits.legacy_read_units);
    let readiness = Readiness::new(table.clone(), parts.users.clone());
    let messaging =
        Messaging::new(table, parts.users, environment.clone(), limits.messages_per_minute, limits.store_calls);
    let messaging = messaging.with_feed_retention(parts.feed_retention);
    let checker = Checker { live: parts.live.clone(), messaging: messaging.clone(), environment };
    shutdown.spawn(checker.run(shutdown.token()));
    let api = Api {
        schema: schema(),
        documents,
        connections: connections.clone(),
        receiving,
        permits: Semaphore::new(limits.concurrent_requests),
        live_limits,
        live: parts.live,
        shutdown: shutdown.clone(),
        messaging: Arc::new(messaging),
        limits,
        cors_origins,
        verifier,
        consumer: parts.consumer,
        readiness,
        registrar: parts.registrar,
        web_client: parts.web_client,
        graphiql_token: parts.graphiql_token,
    };
    let api = Arc::new(api);
    let (gauges, stop) = (api.clone(), shutdown.token());
    shutdown.spawn(async move {
        while !stop.is_cancelled() {
            gauges.record_gauges();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GAUGE_INTERVAL) => {}
            }
        }
    });
    let stop = shutdown.token();
    let router = match parts.sign_in {
        Some(sign_in) => router(api).merge(sign_in),
        None => router(api),
    };
    shutdown.spawn_critical("HTTP server", http::serve(listener, router, connections, stop));
    Ok(())
}

/// The live updates of a process that shares its work with others. Hints go through the database of `pool`. If there is a
/// `listen_url`, the process also receives the hints of the others.
pub fn live_with_postgres(
    pool: PgPool,
    listen_url: Option<&str>,
    shutdown: &Shutdown,
) -> Result<Arc<Live>, SettingError> {
    let (broker, process, outbox) = (Arc::new(PostgresBroker::new(pool)), Uuid::new_v4(), Outbox::default());
    let live = Live::with_outbox(outbox.clone());
    shutdown.spawn(outbox.run(broker.clone(), process, shutdown.token()));
    if let Some(url) = listen_url {
        let wrong = |error| SettingError::wrong("DATABASE_LISTEN_URL", format!("cannot be read: {error}"));
        let target = connect_options(url).map_err(wrong)?;
        let environment = Arc::new(SystemEnvironment);
        // What others send before the first connection is lost.
        live.listening().lost();
        let listener = PostgresListener { target, broker, process, live: live.clone(), environment };
        shutdown.spawn(listener.run(shutdown.token()));
    }
    Ok(live)
}

/// A name for a process as a holder of leases. No other process ever has the same.
pub fn fresh_name() -> String {
    Uuid::new_v4().to_string()
}

/// Runs the stream consumer until the shutdown. It treats leases under its `name` as its own, so no other process may have the
/// same name at the same time. Feed entries expire after `feed_retention`. `live` receives hints of new entries.
pub fn consume(
    aws: &Aws,
    table: &str,
    feed_retention: Option<Duration>,
    name: String,
    live: Arc<Live>,
    shutdown: &Shutdown,
) -> Arc<Health> {
    let source = DynamoDbStream::new(aws.dynamodb.clone(), aws.streams.clone(), table);
    let leases = ConsumerTable::new(aws.dynamodb.clone(), table);
    let rows = MessagesTable::new(aws.dynamodb.clone(), table);
    let consumer = Consumer::new(source, leases, rows, name, Arc::new(SystemEnvironment));
    let on_append: OnAppend = Arc::new(move |heads| live.appended(heads));
    let consumer = Arc::new(consumer.with_feed(feed_retention, on_append));
    let health = consumer.health();
    shutdown.spawn_critical("stream consumer", consumer.run(shutdown.token()));
    health
}
