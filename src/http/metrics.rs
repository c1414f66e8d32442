//! Serves the metrics on a separate address: `GET /metrics`. `GET /health/live` is there too, because `worker` has no other
//! address.

use std::io;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use super::health::live;
use super::server::{Connections, serve};
use crate::config::{ConnectionLimits, MetricsSettings};
use crate::metrics::collect;
use crate::shutdown::Shutdown;

/// Maximum number of connections of clients that read the metrics.
const MAX_CONNECTIONS: usize = 100;
/// Interval at which the recorder summarizes its samples, so that its memory does not grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves the metrics until shutdown. If the default address is in use, logs a
/// warning and disables the metrics. If a configured address is in use, returns an error.
pub async fn serve_metrics(settings: &MetricsSettings, shutdown: &Shutdown) -> anyhow::Result<()> {
    let address = settings.address();
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) if settings.metrics_addr.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!("metrics are disabled, because {address} is in use (METRICS_ADDR)");
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot listen on {address} (METRICS_ADDR)")),
    };
    let handle = collect()?;
    let (upkeep, stop) = (handle.clone(), shutdown.token());
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(UPKEEP_INTERVAL) => upkeep.run_upkeep(),
            }
        }
    });
    let render = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render());
    let router = Router::new().route("/metrics", get(render)).route("/health/live", get(live));
    let limits = ConnectionLimits { connections: MAX_CONNECTIONS, ..ConnectionLimits::DEFAULT };
    let server = serve(listener, router, Connections::new(limits), shutdown.token());
    shutdown.spawn_critical("metrics server", server);
    Ok(())
}
