//! Limits of requests and documents. Each limit is declared here once: as a flag, as an environment variable, with its
//! default, and as the value that the code uses.

use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use reqwest::Url;

use super::setting::{SettingError, checked_address};

/// Limits of an HTTP request.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum size of a request body in bytes; a larger body gets 413
    #[arg(long = "max-body-bytes", env = "MAX_BODY_BYTES", value_name = "MAX_BODY_BYTES",
        default_value_t = Self::DEFAULT.body_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..=U32_MAX))]
    pub body_bytes: usize,
    /// Maximum number of concurrent requests; further requests get 503
    #[arg(long = "max-requests-in-flight", env = "MAX_REQUESTS_IN_FLIGHT", value_name = "MAX_REQUESTS_IN_FLIGHT",
        default_value_t = Self::DEFAULT.concurrent_requests, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub concurrent_requests: usize,
    /// Maximum duration of a request in milliseconds; a request that takes longer gets 503
    #[arg(long = "request-timeout-ms", env = "REQUEST_TIMEOUT_MS", value_name = "REQUEST_TIMEOUT_MS",
        default_value_t = Self::DEFAULT.request_timeout_ms, value_parser = clap::value_parser!(u32).range(100..))]
    pub request_timeout_ms: u32,
    /// Maximum number of messages that a user may send in a minute; each process counts separately; 0 means no limit
    #[arg(long = "messages-per-minute", env = "MESSAGES_PER_MINUTE", value_name = "MESSAGES_PER_MINUTE",
        default_value_t = Self::DEFAULT.messages_per_minute)]
    pub messages_per_minute: u32,
    /// Maximum number of read units to read the conversation list of one user when the server looks for groups of the legacy
    /// system; if a list needs more, some messages to or from this user fail with UNAVAILABLE. The limit has no effect after
    /// `ddb adopt-legacy`
    #[arg(long = "max-legacy-read-units", env = "MAX_LEGACY_READ_UNITS", value_name = "MAX_LEGACY_READ_UNITS",
        default_value_t = Self::DEFAULT.legacy_read_units, value_parser = clap::value_parser!(u32).range(1..))]
    pub legacy_read_units: u32,
    /// Maximum size of a response in bytes. The server counts the bytes of its strings in JSON and 100 bytes for each value;
    /// a larger response becomes an error
    #[arg(long = "graphql-max-response-bytes", env = "GRAPHQL_MAX_RESPONSE_BYTES", value_name = "GRAPHQL_MAX_RESPONSE_BYTES",
        default_value_t = Self::DEFAULT.response_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..=U32_MAX))]
    pub response_bytes: usize,
    /// Maximum number of concurrent DynamoDB calls of all requests; further calls wait. A quarter is reserved for mutations
    #[arg(long = "max-store-calls", env = "MAX_STORE_CALLS", value_name = "MAX_STORE_CALLS",
        default_value_t = Self::DEFAULT.store_calls, value_parser = RangedU64ValueParser::<usize>::new().range(4..=U32_MAX))]
    pub store_calls: usize,
}

/// Limits of connections, and of requests that the server has not received completely. What exceeds one of them is counted in
/// `limits_reached_total` under the name of the setting.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum number of open connections; before it accepts a further connection, the server closes connections that wait for
    /// a request
    #[arg(long = "max-connections", env = "MAX_CONNECTIONS", value_name = "MAX_CONNECTIONS",
        default_value_t = Self::DEFAULT.connections, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub connections: usize,
    /// Maximum number of concurrent requests on one HTTP/2 connection
    #[arg(long = "max-concurrent-streams", env = "MAX_CONCURRENT_STREAMS", value_name = "MAX_CONCURRENT_STREAMS",
        default_value_t = Self::DEFAULT.streams, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams: u32,
    /// Maximum time in milliseconds to receive the head of a request; the server closes a slower connection
    #[arg(long = "header-timeout-ms", env = "HEADER_TIMEOUT_MS", value_name = "HEADER_TIMEOUT_MS",
        default_value_t = Self::DEFAULT.header_timeout_ms, value_parser = clap::value_parser!(u32).range(100..))]
    pub header_timeout_ms: u32,
    /// Time in milliseconds after which the server closes a connection without requests; the idle timeout of a load balancer
    /// must be shorter
    #[arg(long = "idle-timeout-ms", env = "IDLE_TIMEOUT_MS", value_name = "IDLE_TIMEOUT_MS",
        default_value_t = Self::DEFAULT.idle_timeout_ms, value_parser = clap::value_parser!(u32).range(100..))]
    pub idle_timeout_ms: u32,
    /// Time in milliseconds after which the server closes a connection if the client reads nothing of a response
    #[arg(long = "write-timeout-ms", env = "WRITE_TIMEOUT_MS", value_name = "WRITE_TIMEOUT_MS",
        default_value_t = Self::DEFAULT.write_timeout_ms, value_parser = clap::value_parser!(u32).range(100..))]
    pub write_timeout_ms: u32,
    /// Maximum number of bytes of all responses that clients have not read; above it, the server closes the connections of the
    /// slowest clients
    #[arg(long = "max-unread-bytes", env = "MAX_UNREAD_BYTES", value_name = "MAX_UNREAD_BYTES",
        default_value_t = Self::DEFAULT.unread_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..))]
    pub unread_bytes: usize,
    /// Maximum number of requests whose body is incomplete or whose token is not verified yet. For a further request, the
    /// server responds 503 to the oldest request of the client address that has the most of these requests
    #[arg(long = "max-requests-receiving", env = "MAX_REQUESTS_RECEIVING", value_name = "MAX_REQUESTS_RECEIVING",
        default_value_t = Self::DEFAULT.receiving, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub receiving: usize,
    /// Maximum number of requests from one IPv4 address or IPv6 network (/64) whose body is incomplete or whose token is not
    /// verified yet. For a further request, the oldest one gets 503
    #[arg(long = "max-requests-receiving-per-peer", env = "MAX_REQUESTS_RECEIVING_PER_PEER",
        value_name = "MAX_REQUESTS_RECEIVING_PER_PEER",
        default_value_t = Self::DEFAULT.receiving_per_peer, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub receiving_per_peer: usize,
    /// Maximum number of bytes of all incomplete bodies; above it, the oldest request with such a body gets 503. The same
    /// limit applies separately to incomplete heads; above it, the server closes the connection with the oldest one
    #[arg(long = "max-receiving-bytes", env = "MAX_RECEIVING_BYTES", value_name = "MAX_RECEIVING_BYTES",
        default_value_t = Self::DEFAULT.receiving_bytes, value_parser = RangedU64ValueParser::<usize>::new().range(1_024..))]
    pub receiving_bytes: usize,
}

/// Limits of live updates.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LiveLimits {
    /// Maximum number of WebSockets and event streams that a user may have open; each process counts separately
    #[arg(long = "max-sockets-per-user", env = "MAX_SOCKETS_PER_USER", value_name = "MAX_SOCKETS_PER_USER",
        default_value_t = Self::DEFAULT.sockets_per_user, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub sockets_per_user: usize,
    /// Maximum number of concurrent operations on a WebSocket
    #[arg(long = "max-operations-per-socket", env = "MAX_OPERATIONS_PER_SOCKET", value_name = "MAX_OPERATIONS_PER_SOCKET",
        default_value_t = Self::DEFAULT.operations_per_socket, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    pub operations_per_socket: usize,
    /// Maximum number of messages that a client may send on a WebSocket in a minute; after that, the server closes it
    #[arg(long = "max-socket-messages-per-minute", env = "MAX_SOCKET_MESSAGES_PER_MINUTE",
        value_name = "MAX_SOCKET_MESSAGES_PER_MINUTE",
        default_value_t = Self::DEFAULT.socket_messages_per_minute, value_parser = clap::value_parser!(u32).range(10..))]
    pub socket_messages_per_minute: u32,
}

impl LiveLimits {
    /// The defaults.
    pub const DEFAULT: Self = Self { sockets_per_user: 20, operations_per_socket: 10, socket_messages_per_minute: 120 };
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Limits of a GraphQL document. The error for a document that exceeds one names the limit.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Maximum size of a GraphQL document in bytes, without variables
    #[arg(long = "graphql-max-document-bytes", env = "GRAPHQL_MAX_DOCUMENT_BYTES", value_name = "GRAPHQL_MAX_DOCUMENT_BYTES",
        default_value_t = Self::DEFAULT.bytes, value_parser = RangedU64ValueParser::<usize>::new().range(100..=U32_MAX))]
    pub bytes: usize,
    /// Maximum number of tokens in a document: names, numbers, strings, punctuation and the white space between them
    #[arg(long = "graphql-max-tokens", env = "GRAPHQL_MAX_TOKENS", value_name = "GRAPHQL_MAX_TOKENS",
        default_value_t = Self::DEFAULT.tokens, value_parser = RangedU64ValueParser::<usize>::new().range(10..=U32_MAX))]
    pub tokens: usize,
    /// Maximum number of fields and fragments in a document, counted after fragment spreads are expanded
    #[arg(long = "graphql-max-selections", env = "GRAPHQL_MAX_SELECTIONS", value_name = "GRAPHQL_MAX_SELECTIONS",
        default_value_t = Self::DEFAULT.selections, value_parser = RangedU64ValueParser::<usize>::new().range(1..=U32_MAX))]
    pub selections: usize,
    /// Maximum number of levels of nested fields
    #[arg(long = "graphql-max-depth", env = "GRAPHQL_MAX_DEPTH", value_name = "GRAPHQL_MAX_DEPTH",
        default_value_t = Self::DEFAULT.depth, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub depth: usize,
    /// Maximum number of aliases in a document, counted after fragment spreads are expanded
    #[arg(long = "graphql-max-aliases", env = "GRAPHQL_MAX_ALIASES", value_name = "GRAPHQL_MAX_ALIASES",
        default_value_t = Self::DEFAULT.aliases)]
    pub aliases: usize,
    /// Maximum number of directives in a document
    #[arg(long = "graphql-max-directives", env = "GRAPHQL_MAX_DIRECTIVES", value_name = "GRAPHQL_MAX_DIRECTIVES",
        default_value_t = Self::DEFAULT.directives)]
    pub directives: usize,
    /// Maximum cost of an operation: 10 for a field that reads or writes a store, 1 for any other field, multiplied by the
    /// sizes of the pages that contain the field
    #[arg(long = "graphql-max-cost", env = "GRAPHQL_MAX_COST", value_name = "GRAPHQL_MAX_COST",
        default_value_t = Self::DEFAULT.cost, value_parser = clap::value_parser!(u64).range(1..))]
    pub cost: u64,
}

/// Settings of cross-origin requests.
#[derive(Args, Clone, Debug)]
pub struct CorsSettings {
    /// Origins whose pages may call the API from a browser, separated by commas, such as https://app.example.com
    #[arg(long, env = "CORS_ORIGINS", value_name = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
}

const U32_MAX: u64 = u32::MAX as u64;

impl HttpLimits {
    /// The defaults. The maximum body is much larger than a long document with an escaped message of 1024 characters. A page of
    /// 100 messages needs at most 0.7 MB of a response. Each concurrent call to DynamoDB needs a connection.
    pub const DEFAULT: Self = Self {
        body_bytes: 256 * 1024,
        concurrent_requests: 1_000,
        request_timeout_ms: 10_000,
        messages_per_minute: 600,
        // Enough for about 20,000 conversations. Reading such a list takes two seconds. DynamoDB allows 3,000 read units per
        // second for a partition.
        legacy_read_units: 2_000,
        response_bytes: 8 * 1024 * 1024,
        store_calls: 256,
    };

    /// Maximum duration of a request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl ConnectionLimits {
    /// The defaults. The idle timeout is longer than that of load balancers, which is 60 seconds by default, so that they close
    /// idle connections first.
    pub const DEFAULT: Self = Self {
        connections: 10_000,
        streams: 100,
        header_timeout_ms: 10_000,
        idle_timeout_ms: 75_000,
        write_timeout_ms: 30_000,
        unread_bytes: 32 * 1024 * 1024,
        receiving: 2_000,
        receiving_per_peer: 1_000,
        receiving_bytes: 16 * 1024 * 1024,
    };

    /// Maximum time to receive the head of a request.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms.into())
    }

    /// Maximum time for which a connection may have no request.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.into())
    }

    /// Maximum time for which a client may read nothing of a response.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms.into())
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl DocumentLimits {
    /// The defaults. They allow GraphiQL's introspection query, which has 400 tokens, 300 selections and 13 levels.
    pub const DEFAULT: Self =
        Self { bytes: 65_536, tokens: 5_000, selections: 5_000, depth: 16, aliases: 32, directives: 32, cost: 30_000 };
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl CorsSettings {
    /// Returns the origins. They must be in lower case and without the default port, because browsers send origins in this
    /// form, and another form would never match.
    ///
    /// # Errors
    /// An origin does not have this form.
    pub fn origins(&self) -> Result<Vec<HeaderValue>, SettingError> {
        self.cors_origins.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(origin).collect()
    }
}

fn origin(text: &str) -> Result<HeaderValue, SettingError> {
    let wrong = || {
        let expected =
            "must be origins as browsers send them, such as https://app.example.com: no path, no default port";
        SettingError::wrong("CORS_ORIGINS", format!("{expected}; got `{text}`"))
    };
    checked_address("CORS_ORIGINS", text).map_err(|_| wrong())?;
    let as_sent = Url::parse(text).map_err(|_| wrong())?.origin().ascii_serialization();
    if as_sent == text { HeaderValue::from_str(text).map_err(|_| wrong()) } else { Err(wrong()) }
}
