//! The process's numbers for Prometheus, on an address of their own: `GET /metrics`.
//!
//! The names stand here; the places that count use these functions. Where nothing collects them, counting does nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::shutdown::Shutdown;

/// Where the numbers are served when nothing is said.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Stream records read.
    Read,
    /// Of those, records that are none of the consumer's business.
    Skipped,
    /// Groups moved.
    Moves,
    /// Messages covered by a newer one of their group in the same batch.
    Coalesced,
    /// Moves that found another writer at the same rows.
    Conflicts,
    /// Calls tried again.
    Retries,
    /// Records set aside.
    SetAside,
    /// Gaps found in the stream, each of which is reconciled.
    Gaps,
    /// Leases taken.
    LeasesTaken,
    /// Leases lost to another process.
    LeasesLost,
    /// Leases handed over.
    LeasesReleased,
}

impl Count {
    const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Read, "consumer_records_read_total", "Stream records read"),
        (Self::Skipped, "consumer_records_skipped_total", "Stream records that are no new messages"),
        (Self::Moves, "consumer_moves_total", "Message groups moved to the top"),
        (Self::Coalesced, "consumer_coalesced_total", "Messages covered by a newer one in the same batch"),
        (Self::Conflicts, "consumer_conflicts_total", "Moves that met another writer"),
        (Self::Retries, "consumer_retries_total", "Calls tried again"),
        (Self::SetAside, "consumer_set_aside_total", "Records set aside for their own fault"),
        (Self::Gaps, "consumer_gaps_total", "Gaps in the stream, reconciled"),
        (Self::LeasesTaken, "consumer_leases_taken_total", "Leases taken"),
        (Self::LeasesLost, "consumer_leases_lost_total", "Leases lost to another process"),
        (Self::LeasesReleased, "consumer_leases_released_total", "Leases handed over"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(count, _, _)| *count == self).map_or("consumer_unnamed_total", |(_, name, _)| name)
    }

    /// Counts `by` more.
    pub fn add(self, by: usize) {
        counter!(self.name()).increment(by as u64);
    }
}

const CONSUMED: &str = "dynamodb_consumed_units_total";
const LAG: &str = "consumer_lag_seconds";
const ACTIVE_SHARDS: &str = "consumer_active_shards";

/// Counts the capacity that DynamoDB says a call of `operation` has consumed; a fraction counts as a whole unit.
pub fn consumed(operation: &'static str, units: f64) {
    // Never negative, and far below what an integer holds.
    counter!(CONSUMED, "operation" => operation).increment(units.ceil() as u64);
}

/// Collects the numbers of this process from now on.
pub fn collect() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("the metrics cannot be collected")
}

/// Says how far behind the reading of a shard is.
pub fn lag(shard: &str, seconds: f64) {
    gauge!(LAG, "shard" => shard.to_owned()).set(seconds);
}

/// Says how many shards this process reads.
pub fn active_shards(count: usize) {
    gauge!(ACTIVE_SHARDS).set(count as f64);
}

/// Serves the numbers until the shutdown. The default address may be another process's already: then this one goes
/// without, and says so; an address that was asked for must be had.
pub async fn serve(address: Option<SocketAddr>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let listener = match (address, TcpListener::bind(address.unwrap_or(DEFAULT_ADDRESS)).await) {
        (_, Ok(listener)) => listener,
        (None, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!("no metrics: {DEFAULT_ADDRESS} is in use (METRICS_ADDR)");
            return Ok(());
        }
        (address, Err(error)) => {
            let address = address.unwrap_or(DEFAULT_ADDRESS);
            return Err(error).with_context(|| format!("cannot listen on {address} (METRICS_ADDR)"));
        }
    };
    let handle = collect()?;
    for (_, name, description) in Count::ALL {
        describe_counter!(name, description);
        counter!(name).absolute(0);
    }
    describe_counter!(CONSUMED, "Capacity units consumed, as DynamoDB says");
    describe_gauge!(LAG, "Age of the last record handled, while records wait");
    describe_gauge!(ACTIVE_SHARDS, "Shards this process reads");
    let (upkept, stop) = (handle.clone(), shutdown.token());
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(UPKEEP_EVERY) => upkept.run_upkeep(),
            }
        }
    });
    let answer = async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render());
    let router = Router::new().route("/metrics", get(answer));
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.token().cancelled_owned());
    shutdown.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the metrics are not served any more");
        }
    });
    Ok(())
}
