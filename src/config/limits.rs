//! Limits of requests and of GraphQL documents. Each limit is declared here once: as a flag, as an environment variable
//! and as the value that the code uses.

use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser, ValueParser};
use reqwest::Url;

/// Limits of an HTTP request.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    // A message of 1024 characters, escaped, in a long document is far smaller than the default.
    /// Maximum size of a request body in bytes; a larger body gets 413
    #[arg(long = "max-body-bytes", env = "MAX_BODY_BYTES", value_name = "MAX_BODY_BYTES",
        default_value_t = Self::default().body_bytes, value_parser = at_least(1_024))]
    pub body_bytes: usize,
    /// Maximum number of concurrent requests; further requests get 503
    #[arg(long = "max-requests-in-flight", env = "MAX_REQUESTS_IN_FLIGHT", value_name = "MAX_REQUESTS_IN_FLIGHT",
        default_value_t = Self::default().concurrent_requests, value_parser = at_least(1))]
    pub concurrent_requests: usize,
    /// Maximum duration of a request in milliseconds; a request that takes longer gets 503
    #[arg(long = "request-timeout-ms", env = "REQUEST_TIMEOUT_MS", value_name = "REQUEST_TIMEOUT_MS",
        default_value = "10000", value_parser = milliseconds())]
    pub request_timeout: Duration,
    /// Origins whose pages may call the API from a browser, separated by commas, such as https://app.example.com
    // The full path keeps clap from giving each origin a value of its own: an empty list must be accepted.
    #[arg(long, env = "CORS_ORIGINS", value_name = "CORS_ORIGINS", default_value = "", hide_default_value = true,
        value_parser = origins)]
    pub cors_origins: std::vec::Vec<HeaderValue>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes: 256 * 1024,
            concurrent_requests: 1_000,
            request_timeout: Duration::from_secs(10),
            cors_origins: Vec::new(),
        }
    }
}

/// Limits of a GraphQL document. The error for a document that exceeds one names the limit.
///
/// For comparison: the introspection query of GraphiQL has 400 tokens and 300 selections, and is 13 levels deep.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Maximum size of a GraphQL document in bytes; variables do not count
    #[arg(long = "graphql-max-document-bytes", env = "GRAPHQL_MAX_DOCUMENT_BYTES",
        value_name = "GRAPHQL_MAX_DOCUMENT_BYTES", default_value_t = Self::default().bytes, value_parser = at_least(100))]
    pub bytes: usize,
    /// Maximum number of tokens in a document: names, numbers, strings, punctuation and the white space between them
    #[arg(long = "graphql-max-tokens", env = "GRAPHQL_MAX_TOKENS", value_name = "GRAPHQL_MAX_TOKENS",
        default_value_t = Self::default().tokens, value_parser = at_least(10))]
    pub tokens: usize,
    /// Maximum number of fields and fragments in a document, counted after fragment spreads are expanded
    #[arg(long = "graphql-max-selections", env = "GRAPHQL_MAX_SELECTIONS", value_name = "GRAPHQL_MAX_SELECTIONS",
        default_value_t = Self::default().selections, value_parser = at_least(1))]
    pub selections: usize,
    /// Maximum number of levels of nested fields
    #[arg(long = "graphql-max-depth", env = "GRAPHQL_MAX_DEPTH", value_name = "GRAPHQL_MAX_DEPTH",
        default_value_t = Self::default().depth, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub depth: usize,
    /// Maximum number of aliases in a document
    #[arg(long = "graphql-max-aliases", env = "GRAPHQL_MAX_ALIASES", value_name = "GRAPHQL_MAX_ALIASES",
        default_value_t = Self::default().aliases, value_parser = at_least(0))]
    pub aliases: usize,
    /// Maximum number of directives in a document
    #[arg(long = "graphql-max-directives", env = "GRAPHQL_MAX_DIRECTIVES", value_name = "GRAPHQL_MAX_DIRECTIVES",
        default_value_t = Self::default().directives, value_parser = at_least(0))]
    pub directives: usize,
    /// Maximum cost of an operation: 1 for each field, 10 for a field that reads or writes a store, multiplied by the
    /// page sizes of the connections around it
    #[arg(long = "graphql-max-cost", env = "GRAPHQL_MAX_COST", value_name = "GRAPHQL_MAX_COST",
        default_value_t = Self::default().cost, value_parser = clap::value_parser!(u64).range(1..))]
    pub cost: u64,
}

impl Default for DocumentLimits {
    fn default() -> Self {
        Self { bytes: 65_536, tokens: 5_000, selections: 5_000, depth: 16, aliases: 32, directives: 32, cost: 30_000 }
    }
}

/// Parses a number from `minimum` to the maximum of `u32`. A semaphore panics on a number of permits close to the
/// maximum of `usize`.
fn at_least(minimum: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(minimum..=u32::MAX.into())
}

fn milliseconds() -> ValueParser {
    clap::value_parser!(u32).range(100..).map(|milliseconds| Duration::from_millis(milliseconds.into())).into()
}

/// Parses a comma-separated list of origins, which may be empty.
fn origins(list: &str) -> Result<Vec<HeaderValue>, String> {
    let origin = |text: &str| {
        // Browsers send an origin in lower case and without the default port: any other form would never match.
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let as_sent = url.filter(|url| url.origin().ascii_serialization() == text);
        as_sent.and_then(|_| HeaderValue::from_str(text).ok()).ok_or_else(|| {
            format!("`{text}` must be an origin such as https://app.example.com: lower case, no path, no default port")
        })
    };
    list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(origin).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        http: HttpLimits,
        #[command(flatten)]
        documents: DocumentLimits,
    }

    #[test]
    fn an_empty_command_line_gives_the_default_limits() {
        let command = Command::parse_from(["serve"]);
        assert_eq!(command.http, HttpLimits::default());
        assert_eq!(command.documents, DocumentLimits::default());
    }

    #[test]
    fn limits_are_parsed_within_their_ranges() {
        let command = Command::parse_from(["serve", "--request-timeout-ms", "100", "--graphql-max-depth", "64"]);
        assert_eq!(command.http.request_timeout, Duration::from_millis(100));
        assert_eq!(command.documents.depth, 64);
        for (flag, value) in [
            ("--max-body-bytes", "1023"),
            ("--max-requests-in-flight", "0"),
            ("--max-requests-in-flight", "4294967296"),
            ("--request-timeout-ms", "99"),
            ("--graphql-max-document-bytes", "99"),
            ("--graphql-max-tokens", "9"),
            ("--graphql-max-selections", "0"),
            ("--graphql-max-depth", "0"),
            ("--graphql-max-depth", "65"),
            ("--graphql-max-cost", "0"),
        ] {
            assert!(Command::try_parse_from(["serve", flag, value]).is_err(), "{flag} {value}");
        }
    }

    #[test]
    fn only_origins_that_browsers_send_are_accepted() {
        let parsed = |text| Command::try_parse_from(["serve", "--cors-origins", text]).map(|it| it.http.cors_origins);
        for (list, count) in
            [("", 0), ("https://app.example.com", 1), ("http://localhost:3000, https://a.example:8443,", 2)]
        {
            assert_eq!(parsed(list).map(|it| it.len()).ok(), Some(count), "{list}");
        }
        for bad in [
            "*",
            "null",
            "ftp://a",
            "https://a/",
            "https://a/x",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://A",
            "https://a:443",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
