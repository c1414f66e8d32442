//! Metrics of the process for Prometheus, on an address of their own: `GET /metrics`.
//!
//! All names are here. Without a recorder, counting has no effect.

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

/// Default address of the metrics.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// For how long the lag of a shard is shown after this process has stopped reading the shard.
const GAUGE_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Stream records read.
    Read,
    /// Stream records that are not new messages.
    Skipped,
    /// Groups moved.
    Moves,
    /// Messages that a newer message of their group in the same batch replaces.
    Coalesced,
    /// Moves that conflicted with another writer.
    Conflicts,
    /// Calls that were retried.
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
        (Self::Skipped, "consumer_records_skipped_total", "Stream records that are not new messages"),
        (Self::Moves, "consumer_moves_total", "Message groups moved to the top"),
        (
            Self::Coalesced,
            "consumer_coalesced_total",
            "Messages replaced by a newer message of their group in the same batch",
        ),
        (Self::Conflicts, "consumer_conflicts_total", "Moves that conflicted with another writer"),
        (Self::Retries, "consumer_retries_total", "Calls that were retried"),
        (Self::SetAside, "consumer_set_aside_total", "Records set aside because they failed permanently"),
        (Self::Gaps, "consumer_gaps_total", "Gaps in the stream; each is reconciled"),
        (Self::LeasesTaken, "consumer_leases_taken_total", "Leases taken"),
        (Self::LeasesLost, "consumer_leases_lost_total", "Leases lost to another process"),
        (Self::LeasesReleased, "consumer_leases_released_total", "Leases handed over"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(count, _, _)| *count == self).map_or("consumer_unnamed_total", |(_, name, _)| name)
    }

    /// Adds `by`.
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

/// Counters by a name. A counter is looked up at its first use, because the recorder is installed by then. There are few names:
/// operations of DynamoDB, or root fields of the schema.
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

/// Counts a request by one of its root fields, and records its duration.
pub fn request(field: &str, outcome: Outcome, duration: Duration) {
    let counter = |outcome: Outcome| counter!(REQUESTS, "field" => field.to_owned(), "outcome" => outcome.as_str());
    let (succeeded, seconds) =
        known(&REQUESTED, field, || (counter(Outcome::Ok), histogram!(REQUEST_SECONDS, "field" => field.to_owned())));
    if outcome == Outcome::Ok { succeeded } else { counter(outcome) }.increment(1);
    seconds.record(duration.as_secs_f64());
}

/// Counts a failed call to DynamoDB. `outcome` is DynamoDB's error code, `unreachable` or `unreadable`.
pub fn failed(operation: &'static str, outcome: &str) {
    counter!(CALLS, "operation" => operation, "outcome" => outcome.to_owned()).increment(1);
}

/// Counts the lookups in a cache. A request makes dozens of them, so the counters are looked up once.
pub struct CacheCounts {
    name: &'static str,
    hits_and_misses: OnceLock<(Counter, Counter)>,
}

impl CacheCounts {
    /// The counts of the cache `name`.
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

/// Records the number of connections to PostgreSQL and how many of them are idle.
pub fn connections(all: usize, idle: usize) {
    gauge!(CONNECTIONS, "state" => "idle").set(idle as f64);
    gauge!(CONNECTIONS, "state" => "used").set(all.saturating_sub(idle) as f64);
}

/// Records the number of concurrent requests.
pub fn in_flight(count: usize) {
    gauge!(IN_FLIGHT).set(count as f64);
}

/// Records how far the local clock is ahead of DynamoDB's, whose `Date` header has whole seconds.
pub fn clock_ahead(seconds: f64) {
    gauge!(CLOCK).set(seconds);
}

/// Installs the recorder.
pub fn collect() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_IDLE_TIMEOUT));
    let builder = builder.set_buckets(&BUCKETS).context("the buckets of the metrics are invalid")?;
    builder.install_recorder().context("the recorder of the metrics cannot be installed")
}

/// Records the lag of a shard.
pub fn lag(shard: &str, lag: Duration) {
    gauge!(LAG, "shard" => shard.to_owned()).set(lag.as_secs_f64());
}

/// Records the number of shards that this process reads.
pub fn active_shards(count: usize) {
    gauge!(ACTIVE_SHARDS).set(count as f64);
}

/// Serves the metrics until the shutdown. If the default address is in use, metrics are disabled with a warning. A configured
/// address must be free.
pub async fn serve(address: Option<SocketAddr>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let listener = match (address, TcpListener::bind(address.unwrap_or(DEFAULT_ADDRESS)).await) {
        (_, Ok(listener)) => listener,
        (None, Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!("metrics are disabled, because {DEFAULT_ADDRESS} is in use (METRICS_ADDR)");
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
    describe_counter!(CONSUMED, "Half capacity units that DynamoDB reports as consumed");
    describe_counter!(CALLS, "Calls to DynamoDB by operation and outcome");
    describe_counter!(REQUESTS, "GraphQL requests by root field and outcome");
    describe_histogram!(REQUEST_SECONDS, "Duration of GraphQL requests by root field");
    describe_counter!(CACHE, "Lookups in caches");
    describe_gauge!(CONNECTIONS, "Connections to PostgreSQL");
    describe_gauge!(IN_FLIGHT, "Concurrent GraphQL requests");
    describe_gauge!(CLOCK, "How far the local clock is ahead of DynamoDB's");
    describe_gauge!(LAG, "Age of the oldest waiting record");
    describe_gauge!(ACTIVE_SHARDS, "Shards that this process reads");
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
    let router = Router::new().route("/metrics", get(render));
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.token().cancelled_owned());
    shutdown.spawn_critical("metrics server", server.into_future());
    Ok(())
}
