//! Settings: flags and environment variables, validated once at the start. The error for a missing or wrong setting is one
//! line that names the setting.

mod cognito;
mod hosts;
mod limits;
mod setting;
mod stores;
mod web;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

pub use self::cognito::{CognitoSettings, RegistrationSettings, TokenIssuer, UserPoolSettings};
pub use self::hosts::{LocalHosts, host_of, local_origin};
pub use self::limits::{ConnectionLimits, CorsSettings, DocumentLimits, HttpLimits, LiveLimits};
use self::setting::socket_address;
pub use self::setting::{SettingError, checked_address};
pub use self::stores::{DatabaseSettings, FeedSettings, HintBroker, HintSettings, ListenSettings, TableSettings};
pub use self::web::{SignInIssuer, WebClient, WebSettings};

/// Settings of the API besides its limits.
#[derive(Args, Clone, Debug)]
pub struct HttpSettings {
    /// Address of the API
    #[arg(long, env = "LISTEN_ADDR", value_name = "LISTEN_ADDR", default_value = "127.0.0.1:4567",
        value_parser = socket_address)]
    pub listen_addr: SocketAddr,
    /// Whether clients may introspect the schema [default: false in serve, true in dev]
    #[arg(long, env = "GRAPHQL_INTROSPECTION", value_name = "GRAPHQL_INTROSPECTION")]
    pub graphql_introspection: Option<bool>,
}

/// Settings that decide which requests the API accepts.
#[derive(Args, Clone, Debug)]
pub struct RequestSettings {
    #[command(flatten)]
    pub connections: ConnectionLimits,
    #[command(flatten)]
    pub http: HttpLimits,
    #[command(flatten)]
    pub documents: DocumentLimits,
    #[command(flatten)]
    pub live: LiveLimits,
    #[command(flatten)]
    pub cors: CorsSettings,
    /// File with GraphQL documents: {"name": "document", …} or an apollo-persisted-query-manifest. If it is set, the server
    /// executes only these documents [default: all documents are allowed]
    #[arg(long, env = "TRUSTED_DOCUMENTS", value_name = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}

/// Settings of the metrics listener.
#[derive(Args, Clone, Debug)]
pub struct MetricsSettings {
    /// Address of the metrics [default: 127.0.0.1:9464; if that port is in use, metrics are disabled]
    #[arg(long, env = "METRICS_ADDR", value_name = "METRICS_ADDR", value_parser = socket_address)]
    pub metrics_addr: Option<SocketAddr>,
}

impl MetricsSettings {
    /// Address of the metrics if no other one is set.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

    /// Returns the address of the metrics.
    pub fn address(&self) -> SocketAddr {
        self.metrics_addr.unwrap_or(Self::DEFAULT)
    }
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
    fn an_empty_command_line_gives_the_default_limits() {
        let RequestSettings { connections, http, documents, live, .. } = Command::parse_from(["serve"]).requests;
        assert_eq!(
            (connections, http, documents, live),
            (ConnectionLimits::default(), HttpLimits::default(), DocumentLimits::default(), LiveLimits::default())
        );
    }

    #[test]
    fn only_origins_that_browsers_send_are_accepted() {
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
