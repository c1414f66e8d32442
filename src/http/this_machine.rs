//! Whether a request comes from the machine on which the server runs. Only such requests get the tokens of `dev`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;

use super::server::Client;

/// Whether a client on this machine sends the request, for a page of this machine.
pub fn is_from_this_machine(request: &Request) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    // HTTP/2 has the host name in the URI.
    let host = host.as_ref().or(request.uri().authority()).map(Authority::host).unwrap_or_default();
    request.extensions().get::<Client>().is_some_and(|client| is_on_this_machine(client.address, host))
}

/// Whether the address of a client and the host name of its request are those of this machine. The address is checked, because a
/// client on another machine can send any host name. The host name is checked, because the name of a foreign page can resolve
/// to this machine (DNS rebinding).
fn is_on_this_machine(address: IpAddr, name: &str) -> bool {
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
            ("127.0.0.1", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "[::1]", true),
            ("192.168.1.7", "localhost", false),
            ("192.168.1.7", "127.0.0.1", false),
            ("fe80::1", "[::1]", false),
            ("127.0.0.1", "rebound.example", false),
            ("127.0.0.1", "192.168.1.7", false),
            ("127.0.0.1", "", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(is_on_this_machine(address, host), expected, "{address} {host}");
        }
    }
}
