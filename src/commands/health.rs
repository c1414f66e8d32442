//! `health`: checks whether a process on this machine responds, for container engines. The image has no HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use reqwest::redirect::Policy;

use crate::config::MetricsSettings;

/// Maximum time for the whole response. Container engines wait for 5 s or more.
const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Args, Debug)]
pub struct Options {
    /// URL to request, such as http://127.0.0.1:4567/health/ready [default: /health/live on METRICS_ADDR]
    #[arg(value_name = "URL")]
    url: Option<Url>,
    #[command(flatten)]
    metrics: MetricsSettings,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let (url, setting) = match options.url {
        Some(url) => (url, ""),
        None => {
            let url = format!("http://{}/health/live", reachable(options.metrics.address()));
            (Url::parse(&url)?, " (METRICS_ADDR)")
        }
    };
    // A proxy or a redirect would check another process.
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().redirect(Policy::none()).build()?;
    let response = async {
        let response = client.get(url.clone()).send().await?;
        Ok::<_, reqwest::Error>((response.status(), response.text().await?))
    };
    let (status, body) = response
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("{url} does not respond{setting}"))?;
    let body = body.trim();
    if !status.is_success() {
        bail!("{url} responds {status}: {body}");
    }
    println!("{body}");
    Ok(())
}

/// Returns the address at which a client reaches a process that listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_listens_on_all_addresses_is_reached_at_the_loopback_address() {
        let cases = [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:1", "[::1]:1"), ("10.0.0.1:2", "10.0.0.1:2")];
        for (listening, expected) in cases {
            assert_eq!(listening.parse().map(reachable), Ok(expected.parse().expect("an address")));
        }
    }
}
