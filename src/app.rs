//! Puts the parts together: the API on a listener, and the stream consumer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::auth::Verifier;
use crate::auth::keys::{COOLDOWN, KeySource};
use crate::aws::Aws;
use crate::config::SettingError;
use crate::config::cognito::TokenIssuer;
use crate::config::limits::{DocumentLimits, HttpLimits};
use crate::environment::{Environment, SystemEnvironment};
use crate::graphql::documents::{Documents, TrustedDocuments};
use crate::graphql::{schema, sdl};
use crate::http::{Api, router};
use crate::messages_table::MessagesTable;
use crate::messaging::Messaging;
use crate::shutdown::Shutdown;
use crate::stream::Consumer;
use crate::stream::dynamodb::DynamoDbStream;
use crate::stream::health::Health;
use crate::stream::lease_table::ConsumerTable;
use crate::users::Users;

/// How long a request may wait for a connection to PostgreSQL.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the metrics get the numbers that nobody counts.
const SHOWN_EVERY: Duration = Duration::from_secs(5);

/// What the API is built from.
pub struct ApiParts {
    /// Which DynamoDB.
    pub aws: Aws,
    /// Which table.
    pub table: String,
    /// Which PostgreSQL.
    pub users: Users,
    /// Whose tokens.
    pub issuer: TokenIssuer,
    /// What a request may be.
    pub limits: HttpLimits,
    /// What a document may be.
    pub document_limits: DocumentLimits,
    /// The only documents that are executed, when there is a manifest.
    pub trusted_documents: Option<TrustedDocuments>,
    /// Whether clients may introspect.
    pub introspection: bool,
    /// How many messages a user may send in a minute; 0 is no limit.
    pub messages_per_minute: u32,
    /// The stream consumer of this process, if it runs one.
    pub consumer: Option<Arc<Health>>,
    /// A token for GraphiQL to start with.
    pub graphiql_token: Option<String>,
}

/// A pool that connects when it is first needed: a PostgreSQL that is away must not keep the process from starting.
pub fn pool(url: &str, max_connections: u32) -> Result<PgPool, SettingError> {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy(url)
        .map_err(|error| SettingError::wrong("DATABASE_URL", format!("cannot be read: {error}")))
}

/// Serves the API on `listener` until the shutdown; whatever runs then is finished.
pub async fn serve(parts: ApiParts, listener: TcpListener, shutdown: &Shutdown) -> anyhow::Result<()> {
    let TokenIssuer { issuer, client_id, jwks_url } = parts.issuer;
    let keys = KeySource::new(jwks_url, COOLDOWN).context("the HTTP client for COGNITO_JWKS_URL cannot be built")?;
    let verifier = Arc::new(Verifier::new(&issuer, client_id, keys));
    let (refreshed, stop) = (verifier.clone(), shutdown.token());
    shutdown.spawn(async move { refreshed.keys().keep_fresh(stop).await });

    let documents = Documents::new(&sdl(), parts.document_limits, parts.introspection, parts.trusted_documents)
        .map_err(|problem| SettingError::wrong("TRUSTED_DOCUMENTS", format!("cannot be used: {problem}")))?;
    let table = MessagesTable::new(parts.aws.dynamodb, parts.table);
    let environment: Arc<dyn Environment> = Arc::new(SystemEnvironment);
    let api = Api {
        schema: schema(),
        documents,
        places: Semaphore::new(parts.limits.concurrent_requests),
        limits: parts.limits,
        messaging: Arc::new(Messaging::new(table.clone(), parts.users, environment, parts.messages_per_minute)),
        table,
        verifier,
        consumer: parts.consumer,
        graphiql_token: parts.graphiql_token,
    };
    let api = Arc::new(api);
    let (watched, stop) = (api.clone(), shutdown.token());
    shutdown.spawn(async move {
        while !stop.is_cancelled() {
            watched.show();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SHOWN_EVERY) => {}
            }
        }
    });
    let stop = shutdown.token();
    let server = axum::serve(listener, router(api)).with_graceful_shutdown(stop.cancelled_owned());
    shutdown.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the server ended badly");
        }
    });
    Ok(())
}

/// A name for a process as a holder of leases, which no other process ever has.
pub fn fresh_name() -> String {
    Uuid::new_v4().to_string()
}

/// Runs the stream consumer until the shutdown. Leases in its `name` it takes for its own, so no other process may have
/// it at the same time.
pub fn consume(aws: &Aws, table: &str, name: String, shutdown: &Shutdown) -> Arc<Health> {
    let source = DynamoDbStream::new(aws.dynamodb.clone(), aws.streams.clone(), table);
    let leases = ConsumerTable::new(aws.dynamodb.clone(), table);
    let rows = MessagesTable::new(aws.dynamodb.clone(), table);
    let consumer = Arc::new(Consumer::new(source, leases, rows, name, Arc::new(SystemEnvironment)));
    let health = consumer.health();
    shutdown.spawn(consumer.run(shutdown.token()));
    health
}
