//! Whether a request comes from the machine on which the server runs. Only such requests get the tokens of `dev`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;

use super::server::Client;

/// Whether a client on this machine sends the request, for a page of this machine.
pub fn is_from_this_machine(request: &Request) -> bool {
    let client = request.extensions().get::<Client>();
    client.is_some_and(|client| is_on_this_machine(client.address, request.headers()))
}

/// The address is checked, because a client
/// on another machine can send any host name. The host name is checked, because the name of a foreign page can resolve to
/// this machine (DNS rebinding).
fn is_on_this_machine(address: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let name = host.as_ref().map(Authority::host).unwrap_or_default();
    let named = name.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_named = name.eq_ignore_ascii_case("localhost") || named.is_ok_and(|address| address.is_loopback());
    address.is_loopback() && is_named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_on_this_machine_that_uses_a_name_of_this_machine_gets_the_token() {
        for (address, host, expected) in [
            ("127.0.0.1", "localhost:4567", true),
            ("127.0.0.1", "127.0.0.1:4567", true),
            ("::1", "[::1]:4567", true),
            ("192.168.1.7", "localhost:4567", false),
            ("192.168.1.7", "127.0.0.1:4567", false),
            ("fe80::1", "[::1]:4567", false),
            ("127.0.0.1", "rebound.example:4567", false),
            ("127.0.0.1", "192.168.1.7:4567", false),
        ] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().expect("a value"))]);
            let address = address.parse().expect("an address");
            assert_eq!(is_on_this_machine(address, &headers), expected, "{address} {host}");
        }
        assert!(!is_on_this_machine("127.0.0.1".parse().expect("an address"), &HeaderMap::new()));
    }
}
