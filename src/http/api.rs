//! The type [`Api`].

use std::sync::Arc;

use axum::http::HeaderValue;
use tokio::sync::Semaphore;

use super::readiness::Readiness;
use super::receiving::Receiving;
use super::server::Connections;
use crate::auth::Verifier;
use crate::config::{HttpLimits, LiveLimits, WebClient};
use crate::documents::Documents;
use crate::graphql::MessagingSchema;
use crate::live::Live;
use crate::messaging::Messaging;
use crate::metrics;
use crate::registration::Registrar;
use crate::shutdown::Shutdown;
use crate::stream::health::Health;

/// The state that all handlers share.
pub struct Api {
    /// The schema.
    pub schema: MessagingSchema,
    /// Validates and plans documents.
    pub documents: Documents,
    /// Limits of requests over HTTP, and of their responses.
    pub limits: HttpLimits,
    /// Origins whose pages may use the API from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// The open connections.
    pub connections: Arc<Connections>,
    /// The requests that are being received.
    pub receiving: Receiving,
    /// One permit for each request that is being executed.
    pub permits: Semaphore,
    /// Limits of live updates.
    pub live_limits: LiveLimits,
    /// The live updates.
    pub live: Arc<Live>,
    /// Says when the process stops.
    pub shutdown: Shutdown,
    /// The messaging rules.
    pub messaging: Arc<Messaging>,
    /// Verifies access tokens.
    pub verifier: Arc<Verifier>,
    /// Adds users who are not in PostgreSQL yet, if the server registers users.
    pub registrar: Option<Registrar>,
    /// The health of the stream consumer, if this process runs one.
    pub consumer: Option<Arc<Health>>,
    /// Whether the stores respond.
    pub readiness: Arc<Readiness>,
    /// The web client, if the server serves it.
    pub web_client: Option<WebClient>,
    /// The access token with which GraphiQL starts. Only `dev` sets it.
    pub graphiql_token: Option<String>,
}

impl Api {
    /// Records in the metrics how many permits, places in [`Receiving`] and connections are in use.
    pub fn record_gauges(&self) {
        let (all, waiting) = self.connections.count();
        metrics::open_connections(all, waiting);
        metrics::live_connections(self.live.hub().connections());
        metrics::receiving(self.receiving.count());
        metrics::in_flight(self.limits.concurrent_requests.saturating_sub(self.permits.available_permits()));
        let pool = self.messaging.users().pool();
        metrics::connections(pool.size() as usize, pool.num_idle());
    }
}
