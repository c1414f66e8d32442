//! Hosts that the commands for operators may use without `--prod`.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};
use clap::Args;

/// Names the hosts that are local. All other hosts may be production.
#[derive(Args, Clone, Debug, Default)]
pub struct LocalHosts {
    /// Hosts that commands may use without --prod, besides localhost and the loopback addresses, separated by commas, such
    /// as dynamodb-local
    #[arg(
        long,
        env = "LOCAL_HOSTS",
        global = true,
        value_name = "LOCAL_HOSTS",
        value_delimiter = ',',
        value_parser = host_name
    )]
    local_hosts: Vec<String>,
}

impl LocalHosts {
    /// Whether `host` is localhost, a loopback address or one of the listed hosts. Names are compared as a resolver compares
    /// them: upper and lower case are equal, and a dot at the end is ignored.
    pub fn contains(&self, host: &str) -> bool {
        let host = normalised(host);
        let is_loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost",
        };
        is_loopback || (!host.is_empty() && self.local_hosts.contains(&host))
    }
}

/// Returns the host of a URL.
pub fn host_of(url: &str) -> Option<String> {
    // The HTTP client of the SDK parses URLs with the same type, so it connects to this host.
    url.parse::<Uri>().ok()?.host().map(str::to_owned)
}

/// Returns the origin of this server as a browser on this machine sees it, from the `Host` header in `headers`.
pub fn local_origin(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}")
}

/// Returns a host in the form in which hosts are compared.
fn normalised(host: &str) -> String {
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

/// Checks one item of the list, and returns it in its normal form. An empty item is accepted and matches no host.
fn host_name(text: &str) -> Result<String, &'static str> {
    let host = normalised(text.trim());
    let is_name = host.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.'));
    if is_name || host.parse::<IpAddr>().is_ok() {
        Ok(host)
    } else {
        Err("must be names or IP addresses of hosts, without scheme and port, separated by commas")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        hosts: LocalHosts,
    }

    fn hosts(list: &str) -> Result<LocalHosts, clap::Error> {
        Command::try_parse_from(["command", "--local-hosts", list]).map(|it| it.hosts)
    }

    #[test]
    fn loopback_is_local_and_everything_else_is_not() {
        let hosts = LocalHosts::default();
        for host in ["localhost", "LocalHost.", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"] {
            assert!(hosts.contains(host), "{host}");
        }
        for host in [
            "",
            ".",
            "dynamodb-local",
            "localhost.example",
            "127.0.0.1.example",
            "192.168.0.1",
            "0.0.0.0",
            "dynamodb.eu-central-1.amazonaws.com",
            "DYNAMODB.EU-CENTRAL-1.AMAZONAWS.COM.",
            "dynamodb.eusc-de-east-1.amazonaws.eu",
            "dynamodb.cn-north-1.api.amazonwebservices.com.cn",
        ] {
            assert!(!hosts.contains(host), "{host}");
        }
    }

    #[test]
    fn listed_hosts_are_local() {
        let listed = hosts("dynamodb-local, Postgres.test. ,10.0.0.7,[fd00::7],").expect("a list");
        for host in ["dynamodb-local", "DYNAMODB-LOCAL.", "postgres.test", "10.0.0.7", "fd00:0::7", "localhost"] {
            assert!(listed.contains(host), "{host}");
        }
        for host in ["", "dynamodb", "x.dynamodb-local", "10.0.0.70"] {
            assert!(!listed.contains(host), "{host}");
        }
        assert!(hosts("").is_ok_and(|hosts| !hosts.contains("")));
        for wrong in ["http://host", "host:8000", "a b", "*.test", "host/path"] {
            let error = hosts(wrong).expect_err(wrong).to_string();
            assert!(error.contains("<LOCAL_HOSTS>': must be names"), "{error}");
        }
    }

    #[test]
    fn the_host_of_a_url_is_the_one_that_is_connected_to() {
        for (url, host) in [
            ("http://127.0.0.1:8000/path", Some("127.0.0.1")),
            ("http://[::1]:8000", Some("[::1]")),
            ("http://127.0.0.1:8000@dynamodb.eu-central-1.amazonaws.com", Some("dynamodb.eu-central-1.amazonaws.com")),
            ("nonsense ", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }
}
