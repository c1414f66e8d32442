//! Metrics of the process for Prometheus. `http/metrics.rs` serves them.
//!
//! All names are here. Without a recorder, counting has no effect.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use anyhow::Context;
use metrics::{
    Counter, Histogram, SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use quick_cache::sync::Cache;

use crate::outcome::Outcome;

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
    /// Entries written to feeds.
    FeedEntries,
    /// Messages that needed no move of their own, because the batch contained another message of their group.
    Coalesced,
    /// Attempts of a transaction that failed because of a concurrent write.
    Conflicts,
    /// Calls that were retried.
    Retries,
    /// Records set aside.
    SetAside,
    /// Gaps found in the stream, each of which needs a repair.
    Gaps,
    /// Passes of a repair that were finished.
    RepairPasses,
    /// Groups that a repair checked.
    RepairGroups,
    /// Groups that a repair moved.
    RepairMoves,
    /// Groups that a repair set aside.
    RepairFailures,
    /// Leases taken.
    LeasesTaken,
    /// Leases lost to another process.
    LeasesLost,
    /// Leases released.
    LeasesReleased,
}

impl Count {
    const ALL: [(Self, &'static str, &'static str); 16] = [
        (Self::Read, "consumer_records_read_total", "Stream records read"),
        (Self::Skipped, "consumer_records_skipped_total", "Stream records that are not new messages"),
        (Self::Moves, "consumer_moves_total", "Message groups moved to the top"),
        (Self::FeedEntries, "consumer_feed_entries_total", "Entries written to feeds"),
        (
            Self::Coalesced,
            "consumer_coalesced_total",
            "Messages that needed no move of their own, because the batch contained another message of their group",
        ),
        (
            Self::Conflicts,
            "consumer_conflicts_total",
            "Attempts of a transaction that failed because of a concurrent write",
        ),
        (Self::Retries, "consumer_retries_total", "Calls that were retried"),
        (Self::SetAside, "consumer_set_aside_total", "Records set aside because they failed permanently"),
        (Self::Gaps, "consumer_gaps_total", "Gaps in the stream; each needs a repair"),
        (Self::RepairPasses, "consumer_repair_passes_total", "Passes of a repair over all message groups"),
        (Self::RepairGroups, "consumer_repair_groups_total", "Message groups checked by a repair"),
        (Self::RepairMoves, "consumer_repair_moves_total", "Message groups moved by a repair"),
        (Self::RepairFailures, "consumer_repair_failed_total", "Message groups that a repair set aside"),
        (Self::LeasesTaken, "consumer_leases_taken_total", "Leases taken"),
        (Self::LeasesLost, "consumer_leases_lost_total", "Leases lost to another process"),
        (Self::LeasesReleased, "consumer_leases_released_total", "Leases released"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(count, _, _)| *count == self).map_or("consumer_unnamed_total", |(_, name, _)| name)
    }

    /// Adds `by`.
    pub fn add(self, by: usize) {
        counter!(self.name()).increment(by as u64);
    }
}

/// A limit of connections, of requests that are being received or executed, or of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All places for connections are taken.
    Connections,
    /// The head of a request takes too long.
    HeaderTimeout,
    /// A connection has had no request for too long.
    IdleTimeout,
    /// A client takes too long to read a response.
    WriteTimeout,
    /// Clients have not read too many bytes of responses.
    UnreadBytes,
    /// Too many requests are being received.
    RequestsReceiving,
    /// Too many requests are being received from one IP address.
    RequestsReceivingPerPeer,
    /// Incomplete bodies take too many bytes.
    ReceivingBytes,
    /// All permits are taken.
    RequestsInFlight,
    /// A query of PostgreSQL takes too long.
    DatabaseStatementTimeout,
    /// Finding the legacy groups of a user takes too many read units.
    LegacyReadUnits,
    /// A response is too large.
    ResponseBytes,
    /// Requests make too many concurrent calls to DynamoDB.
    StoreCalls,
    /// A user has too many sockets and event streams.
    SocketsPerUser,
    /// A socket has too many operations.
    OperationsPerSocket,
    /// A client sends too many messages on a socket.
    SocketMessagesPerMinute,
}

impl Limit {
    const ALL: [Self; 16] = [
        Self::Connections,
        Self::HeaderTimeout,
        Self::IdleTimeout,
        Self::WriteTimeout,
        Self::UnreadBytes,
        Self::RequestsReceiving,
        Self::RequestsReceivingPerPeer,
        Self::ReceivingBytes,
        Self::RequestsInFlight,
        Self::DatabaseStatementTimeout,
        Self::LegacyReadUnits,
        Self::ResponseBytes,
        Self::StoreCalls,
        Self::SocketsPerUser,
        Self::OperationsPerSocket,
        Self::SocketMessagesPerMinute,
    ];

    /// The setting of the limit.
    fn setting(self) -> &'static str {
        match self {
            Self::Connections => "MAX_CONNECTIONS",
            Self::HeaderTimeout => "HEADER_TIMEOUT_MS",
            Self::IdleTimeout => "IDLE_TIMEOUT_MS",
            Self::WriteTimeout => "WRITE_TIMEOUT_MS",
            Self::UnreadBytes => "MAX_UNREAD_BYTES",
            Self::RequestsReceiving => "MAX_REQUESTS_RECEIVING",
            Self::RequestsReceivingPerPeer => "MAX_REQUESTS_RECEIVING_PER_PEER",
            Self::ReceivingBytes => "MAX_RECEIVING_BYTES",
            Self::RequestsInFlight => "MAX_REQUESTS_IN_FLIGHT",
            Self::DatabaseStatementTimeout => "DATABASE_STATEMENT_TIMEOUT_MS",
            Self::LegacyReadUnits => "MAX_LEGACY_READ_UNITS",
            Self::ResponseBytes => "GRAPHQL_MAX_RESPONSE_BYTES",
            Self::StoreCalls => "MAX_STORE_CALLS",
            Self::SocketsPerUser => "MAX_SOCKETS_PER_USER",
            Self::OperationsPerSocket => "MAX_OPERATIONS_PER_SOCKET",
            Self::SocketMessagesPerMinute => "MAX_SOCKET_MESSAGES_PER_MINUTE",
        }
    }
}

/// Counts that a limit was reached.
pub fn limit_reached(limit: Limit) {
    counter!(LIMITS, "limit" => limit.setting()).increment(1);
}

/// Counts a reset in a feed that a reader gets because events are missing.
pub fn feed_reset(reason: &'static str) {
    counter!(FEED_RESETS, "reason" => reason).increment(1);
}

/// Counts an event that a subscription has delivered.
pub fn subscription_event(field: &str) {
    known(&DELIVERED, field, || counter!(SUBSCRIPTION_EVENTS, "field" => field.to_owned())).increment(1);
}

/// Counts a subscription that has ended.
pub fn subscription_ended(field: &str, outcome: Outcome) {
    counter!(SUBSCRIPTIONS, "field" => field.to_owned(), "outcome" => outcome.as_str()).increment(1);
}

/// Counts a socket that was closed with `code`.
pub fn socket_closed(code: u16) {
    counter!(SOCKETS_CLOSED, "code" => code.to_string()).increment(1);
}

/// Records the number of open sockets and event streams.
pub fn live_connections(count: usize) {
    gauge!(LIVE_CONNECTIONS).set(count as f64);
}

/// Records whether hints of other processes arrive.
pub fn hints_arrive(is_so: bool) {
    gauge!(HINTS_ARRIVE).set(f64::from(u8::from(is_so)));
}

/// Counts a notification with hints for other processes.
pub fn hints_sent(is_ok: bool) {
    counter!(HINTS_SENT, "outcome" => if is_ok { "OK" } else { "failed" }).increment(1);
}

const SUBSCRIPTION_EVENTS: &str = "graphql_subscription_events_total";
const SUBSCRIPTIONS: &str = "graphql_subscriptions_total";
const SOCKETS_CLOSED: &str = "websocket_closed_total";
const LIVE_CONNECTIONS: &str = "live_connections";
const HINTS_ARRIVE: &str = "live_hints_arrive";
const HINTS_SENT: &str = "live_hints_sent_total";
const FEED_RESETS: &str = "feed_resets_total";
const LIMITS: &str = "limits_reached_total";
const OPEN_CONNECTIONS: &str = "http_connections";
const RECEIVING: &str = "http_requests_receiving";
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
const REPAIR_PENDING: &str = "consumer_repair_pending_seconds";
const REPAIRING: &str = "consumer_repair_running";

/// What a DynamoDB call reads or writes: a label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The messages table.
    Messages,
    /// The table of the stream consumer.
    Leases,
    /// The stream of the messages table.
    Stream,
}

impl Target {
    fn label(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Leases => "leases",
            Self::Stream => "stream",
        }
    }
}

/// Counters by a name. A counter is looked up at its first use, before which the recorder must be installed. There are few names:
/// operations of DynamoDB, or root fields of the schema.
type Known<K, T> = LazyLock<Cache<K, T>>;

fn known<K, Q, T>(all: &Known<K, T>, name: &Q, look_up: impl FnOnce() -> T) -> T
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    T: Clone,
{
    all.get(name).unwrap_or_else(|| {
        let found = look_up();
        all.insert(name.to_owned(), found.clone());
        found
    })
}

/// For each operation: number of successful calls, and consumed capacity.
static SUCCEEDED: Known<(Target, &str), (Counter, Counter)> = LazyLock::new(|| Cache::new(64));
/// For each root field: number of successful requests, and duration of all requests.
static REQUESTED: Known<String, (Counter, Histogram)> = LazyLock::new(|| Cache::new(64));

/// For each root field: number of events that subscriptions have delivered.
static DELIVERED: Known<String, Counter> = LazyLock::new(|| Cache::new(64));

fn calls(target: Target, operation: &'static str, outcome: impl Into<SharedString>) -> Counter {
    counter!(CALLS, "target" => target.label(), "operation" => operation, "outcome" => outcome.into())
}

/// Counts a call to a DynamoDB table that succeeded, and the capacity that it says the call has consumed, in halves of a unit.
pub fn succeeded(target: Target, operation: &'static str, halves: u64) {
    let (calls, consumed) = known(&SUCCEEDED, &(target, operation), || {
        let consumed = counter!(CONSUMED, "target" => target.label(), "operation" => operation);
        (calls(target, operation, "OK"), consumed)
    });
    calls.increment(1);
    consumed.increment(halves);
}

/// Counts a call to DynamoDB that succeeded and reports no capacity: calls of DynamoDB Streams, or of a table's description.
pub fn succeeded_without_capacity(target: Target, operation: &'static str) {
    calls(target, operation, "OK").increment(1);
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
pub fn failed(target: Target, operation: &'static str, outcome: &str) {
    calls(target, operation, outcome.to_owned()).increment(1);
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

/// Records the number of open connections, and how many of them wait for a request.
pub fn open_connections(all: usize, waiting: usize) {
    gauge!(OPEN_CONNECTIONS, "state" => "waiting").set(waiting as f64);
    gauge!(OPEN_CONNECTIONS, "state" => "busy").set(all.saturating_sub(waiting) as f64);
}

/// Records the number of requests that are being received.
pub fn receiving(count: usize) {
    gauge!(RECEIVING).set(count as f64);
}

/// Records the number of concurrent requests.
pub fn in_flight(count: usize) {
    gauge!(IN_FLIGHT).set(count as f64);
}

/// Records how far the local clock is ahead of DynamoDB's, whose `Date` header has whole seconds.
pub fn clock_ahead(seconds: f64) {
    gauge!(CLOCK).set(seconds);
}

/// Records the lag of a shard.
pub fn lag(shard: &str, lag: Duration) {
    gauge!(LAG, "shard" => shard.to_owned()).set(lag.as_secs_f64());
}

/// Records the number of shards that this process reads.
pub fn active_shards(count: usize) {
    gauge!(ACTIVE_SHARDS).set(count as f64);
}

/// Records for how long a repair has been pending, in milliseconds; `None` if no repair is.
pub fn repair_pending(millis: Option<i64>) {
    gauge!(REPAIR_PENDING).set(millis.unwrap_or_default().max(0) as f64 / 1000.0);
}

/// Records whether this process repairs.
pub fn repairing(is_repairing: bool) {
    gauge!(REPAIRING).set(f64::from(u8::from(is_repairing)));
}

/// Installs the recorder, and describes the metrics.
pub fn collect() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_IDLE_TIMEOUT));
    let builder = builder.set_buckets(&BUCKETS).context("the buckets of the metrics are invalid")?;
    let handle = builder.install_recorder().context("the recorder of the metrics cannot be installed")?;
    for (_, name, description) in Count::ALL {
        describe_counter!(name, description);
        counter!(name).absolute(0);
    }
    describe_counter!(CONSUMED, "Half capacity units that DynamoDB reports as consumed");
    describe_counter!(CALLS, "Calls to DynamoDB by target, operation and outcome");
    describe_counter!(REQUESTS, "GraphQL requests by root field and outcome");
    describe_histogram!(REQUEST_SECONDS, "Duration of GraphQL requests by root field");
    describe_counter!(CACHE, "Lookups in caches");
    describe_gauge!(CONNECTIONS, "Connections to PostgreSQL");
    describe_counter!(LIMITS, "How often a limit of connections, requests or queries was reached, by its setting");
    for limit in Limit::ALL {
        counter!(LIMITS, "limit" => limit.setting()).absolute(0);
    }
    describe_counter!(FEED_RESETS, "Readers of feeds that were told that events are missing, by reason");
    describe_counter!(SUBSCRIPTION_EVENTS, "Events that subscriptions have delivered, by root field");
    describe_counter!(SUBSCRIPTIONS, "Subscriptions that have ended, by root field and outcome");
    describe_counter!(SOCKETS_CLOSED, "WebSockets that the server closed, by close code");
    describe_gauge!(LIVE_CONNECTIONS, "Open sockets and event streams of signed-in users");
    describe_gauge!(
        HINTS_ARRIVE,
        "Whether hints of other processes arrive; if 0, new messages arrive some seconds later"
    );
    describe_counter!(HINTS_SENT, "Notifications with hints for other processes, by outcome");
    describe_gauge!(OPEN_CONNECTIONS, "Open connections of clients");
    describe_gauge!(RECEIVING, "Requests that are being received");
    describe_gauge!(IN_FLIGHT, "GraphQL requests that are being executed");
    describe_gauge!(CLOCK, "How far the local clock is ahead of DynamoDB's");
    describe_gauge!(LAG, "Age of the oldest waiting record");
    describe_gauge!(ACTIVE_SHARDS, "Shards that this process reads");
    describe_gauge!(REPAIR_PENDING, "Time since a repair was requested that is not finished");
    describe_gauge!(REPAIRING, "Whether this process repairs all message groups after a gap");
    Ok(handle)
}
