//! The process's numbers for Prometheus, on an address of their own: `GET /metrics`.
//!
//! The names stand here; the places that count use these functions. Where nothing collects them, counting does nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use quick_cache::sync::Cache;
use tokio::net::TcpListener;

use crate::outcome::Outcome;
use crate::shutdown::Shutdown;

/// Where the numbers are served when nothing is said.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Shards come and go: the lag of one that this process has left is shown for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

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

const CONSUMED: &str = "dynamodb_consumed_half_units_total";
const CALLS: &str = "dynamodb_calls_total";
const REQUESTS: &str = "graphql_requests_total";
const REQUEST_SECONDS: &str = "graphql_request_seconds";
const CACHE: &str = "cache_lookups_total";
const CONNECTIONS: &str = "postgres_connections";
const IN_FLIGHT: &str = "http_requests_in_flight";
const CLOCK: &str = "clock_ahead_of_dynamodb_seconds";
/// Bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const LAG: &str = "consumer_lag_seconds";
const ACTIVE_SHARDS: &str = "consumer_active_shards";

/// Counters by a name, which each request counts by: looked up at the first time, when whoever collects them is there.
/// There are far fewer names than it keeps: operations, or fields of the schema's root.
type Known<T> = LazyLock<Cache<String, T>>;

fn known<T: Clone>(all: &Known<T>, name: &str, look_up: impl FnOnce() -> T) -> T {
    all.get(name).unwrap_or_else(|| {
        let found = look_up();
        all.insert(name.to_owned(), found.clone());
        found
    })
}

/// Of an operation: how many calls went well, and what they consumed.
static SUCCEEDED: Known<(Counter, Counter)> = LazyLock::new(|| Cache::new(64));
/// Of a root field: how many requests went well, and how long all took.
static REQUESTED: Known<(Counter, Histogram)> = LazyLock::new(|| Cache::new(64));

/// Counts a call to DynamoDB that succeeded, and the capacity that it says the call has consumed, in halves of a unit.
pub fn succeeded(operation: &'static str, halves: u64) {
    let (calls, consumed) = known(&SUCCEEDED, operation, || {
        (counter!(CALLS, "operation" => operation, "outcome" => "OK"), counter!(CONSUMED, "operation" => operation))
    });
    calls.increment(1);
    consumed.increment(halves);
}

/// Counts a request by one of its root fields, and how long it took.
pub fn request(field: &str, outcome: Outcome, duration: Duration) {
    let counter = |outcome: Outcome| counter!(REQUESTS, "field" => field.to_owned(), "outcome" => outcome.as_str());
    let (succeeded, seconds) =
        known(&REQUESTED, field, || (counter(Outcome::Ok), histogram!(REQUEST_SECONDS, "field" => field.to_owned())));
    if outcome == Outcome::Ok { succeeded } else { counter(outcome) }.increment(1);
    seconds.record(duration.as_secs_f64());
}

/// Counts a call to DynamoDB that failed; `outcome` is DynamoDB's error code, `unreachable` or `unreadable`.
pub fn failed(operation: &'static str, outcome: &str) {
    counter!(CALLS, "operation" => operation, "outcome" => outcome.to_owned()).increment(1);
}

/// Counts the looks into a cache. There are dozens in a request, so the counters are looked up once: at the first look,
/// when whoever collects them is there.
pub struct CacheCounts {
    name: &'static str,
    hits_and_misses: OnceLock<(Counter, Counter)>,
}

impl CacheCounts {
    /// Of the cache of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, hits_and_misses: OnceLock::new() }
    }

    /// Counts a look.
    pub fn count(&self, hit: bool) {
        let counter = |outcome| counter!(CACHE, "cache" => self.name, "outcome" => outcome);
        let (hits, misses) = self.hits_and_misses.get_or_init(|| (counter("hit"), counter("miss")));
        if hit { hits } else { misses }.increment(1);
    }
}

/// Says how many connections to PostgreSQL there are, and how many of them nobody uses.
pub fn connections(all: usize, idle: usize) {
    gauge!(CONNECTIONS, "state" => "idle").set(idle as f64);
    gauge!(CONNECTIONS, "state" => "used").set(all.saturating_sub(idle) as f64);
}

/// Says how many requests are under way.
pub fn in_flight(count: usize) {
    gauge!(IN_FLIGHT).set(count as f64);
}

/// Says by how much our clock is ahead of DynamoDB's; its answers tell whole seconds.
pub fn clock_ahead(seconds: f64) {
    gauge!(CLOCK).set(seconds);
}

/// Collects the numbers of this process from now on.
pub fn collect() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(FORGOTTEN_AFTER));
    let builder = builder.set_buckets(&BUCKETS).context("the metrics' buckets")?;
    builder.install_recorder().context("the metrics cannot be collected")
}

/// Says how far behind a shard is.
pub fn lag(shard: &str, behind: Duration) {
    gauge!(LAG, "shard" => shard.to_owned()).set(behind.as_secs_f64());
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
    describe_counter!(CONSUMED, "Halves of capacity units consumed, as DynamoDB says");
    describe_counter!(CALLS, "Calls to DynamoDB by operation and outcome");
    describe_counter!(REQUESTS, "GraphQL requests by root field and outcome");
    describe_histogram!(REQUEST_SECONDS, "How long GraphQL requests took, by root field");
    describe_counter!(CACHE, "Looks into the caches");
    describe_gauge!(CONNECTIONS, "Connections to PostgreSQL");
    describe_gauge!(IN_FLIGHT, "GraphQL requests under way");
    describe_gauge!(CLOCK, "How far our clock is ahead of DynamoDB's");
    describe_gauge!(LAG, "Age of the oldest record that waits");
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
