//! The settings: flags and environment variables, validated once at the start. The error of a missing or wrong setting is
//! one line that names the setting.

mod cognito;
mod limits;
mod stores;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::Uri;
use clap::Args;
use reqwest::Url;

pub use self::cognito::{CognitoSettings, TokenIssuer, UserPoolSettings};
pub use self::limits::{CorsSettings, DocumentLimits, HttpLimits};
pub use self::stores::{DatabaseSettings, TableSettings};

/// Where the API listens and whether it shows its schema.
#[derive(Args, Clone, Debug)]
pub struct HttpSettings {
    /// Address of the API
    #[arg(long, env = "LISTEN_ADDR", value_name = "LISTEN_ADDR", default_value = "127.0.0.1:4567")]
    pub listen_addr: SocketAddr,
    /// Whether clients may introspect the schema [default: false in serve, true in dev]
    #[arg(long, env = "GRAPHQL_INTROSPECTION", value_name = "GRAPHQL_INTROSPECTION")]
    pub graphql_introspection: Option<bool>,
}

/// Which requests the API accepts.
#[derive(Args, Clone, Debug)]
pub struct RequestSettings {
    #[command(flatten)]
    pub http: HttpLimits,
    #[command(flatten)]
    pub documents: DocumentLimits,
    #[command(flatten)]
    pub cors: CorsSettings,
    /// File with the only documents that the server executes, by their names: {"name": "document", …}
    #[arg(long, env = "TRUSTED_DOCUMENTS", value_name = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}

/// Where the metrics are served.
#[derive(Args, Clone, Debug)]
pub struct MetricsSettings {
    /// Address of the metrics [default: 127.0.0.1:9464; if that is in use, metrics are disabled]
    #[arg(long, env = "METRICS_ADDR", value_name = "METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
}

/// A missing or wrong setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not set, or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// No credentials for AWS.
    #[error("there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoCredentials,
    /// Set to a value that cannot be used.
    #[error("{name} {problem}")]
    Wrong {
        /// The environment variable.
        name: &'static str,
        /// What is wrong, as the rest of a sentence that begins with the name.
        problem: Cow<'static, str>,
    },
}

impl SettingError {
    /// The value of the setting `name` cannot be used.
    pub fn wrong(name: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Wrong { name, problem: problem.into() }
    }
}

/// Checks that `url` is an HTTP address with a host.
pub fn checked_address<'a>(name: &'static str, url: &'a str) -> Result<&'a str, SettingError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let uri = rest.chars().next().filter(|it| !matches!(it, ':' | '/')).and_then(|_| url.parse::<Uri>().ok());
    match uri.and_then(|uri| uri.host().map(str::len)) {
        // `Uri` rejects an address without a host; `Url` rejects a port that does not exist.
        Some(1..) if Url::parse(url).is_ok() => Ok(url),
        _ => Err(SettingError::wrong(name, format!("must be an address such as https://host/path, got `{url}`"))),
    }
}

/// The value of a setting, unless it is missing or blank.
fn given<'a>(name: &'static str, value: &'a Option<String>) -> Result<&'a str, SettingError> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty()).ok_or(SettingError::Missing(name))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        requests: RequestSettings,
    }

    #[test]
    fn defaults_are_those_of_the_command_line() {
        let RequestSettings { http, documents, .. } = Command::parse_from(["serve"]).requests;
        assert_eq!((http, documents), (HttpLimits::default(), DocumentLimits::default()));
    }

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_port_that_exists() {
        for good in ["http://localhost:8000", "https://host/path", "http://[::1]:80/x", "https://host:65535"] {
            assert!(checked_address("URL", good).is_ok(), "{good}");
        }
        for bad in
            ["", "host", "ftp://host", "http://", "http://:80", "http://host:99999", "http://host:x", "https:///path"]
        {
            assert!(checked_address("URL", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        let checked = |text: &str| Command::parse_from(["serve", "--cors-origins", text]).requests.cors.origins();
        for good in ["https://app.example.com", "http://localhost:3000, https://a.example:8443"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://a/",
            "https://a/x",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://A",
            "https://a:443",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
