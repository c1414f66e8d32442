//! GraphQL over WebSocket with the subprotocol `graphql-transport-ws`. Source of the protocol:
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.
//!
//! The implementation of the engine is not used, because it deviates from the protocol in the close codes, in the `error`
//! message and in the closing of sockets (`http/websocket.rs` of async-graphql 8.0.0-rc.5).

mod close;
mod operation;
mod protocol;
mod session;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use self::session::Session;
use super::api::Api;
use super::refusal::Refusal;
use super::response;
use super::server::Client;

/// The only subprotocol that the server accepts.
const SUBPROTOCOL: &str = "graphql-transport-ws";
/// Size of the read buffer in bytes. Each idle socket occupies this memory, because the library fills the buffer with zeros
/// at the start. Longer messages are read too.
const READ_BUFFER_BYTES: usize = 1024;

/// Whether a client requests a WebSocket.
pub fn is_requested(headers: &HeaderMap) -> bool {
    has_word(headers, UPGRADE, "websocket")
}

/// Responds to a request for a WebSocket, and serves the WebSocket in a separate task if the request is accepted.
pub fn open(api: Arc<Api>, mut request: Request) -> Response {
    match accept(&api, &mut request) {
        Ok((response, client, upgrade)) => {
            let has_subprotocol = response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
            let unfinished = api.shutdown.unfinished();
            tokio::spawn(async move {
                let _unfinished = unfinished;
                // On an error, the client has closed the connection.
                let Ok(upgraded) = upgrade.await else { return };
                let maximum = api.limits.body_bytes;
                let config = WebSocketConfig::default()
                    .read_buffer_size(READ_BUFFER_BYTES)
                    .write_buffer_size(0)
                    .max_message_size(Some(maximum))
                    .max_frame_size(Some(maximum));
                let socket = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
                Session::new(api, client, socket).run(has_subprotocol).await;
            });
            response
        }
        Err(refusal) => response::refused(None, refusal),
    }
}

/// Checks a request for a WebSocket, and returns the response that accepts it. A client that does not offer the subprotocol
/// gets a WebSocket without one, so that it can receive a close code.
fn accept(api: &Api, request: &mut Request) -> Result<(Response, Client, OnUpgrade), Refusal> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(Refusal::Upgrade)?;
    let client = request.extensions().get::<Client>().cloned().ok_or(Refusal::Upgrade)?;
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal::Upgrade)?;
    let is_valid = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_word(headers, CONNECTION, "upgrade")
        && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !is_valid {
        return Err(Refusal::Upgrade);
    }
    if !is_allowed_origin(headers, &api.cors_origins) {
        return Err(Refusal::Origin);
    }
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| Refusal::Upgrade)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answers = response.headers_mut();
    answers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    // The names of subprotocols are case-sensitive, unlike the words of the other headers.
    if words(headers, SEC_WEBSOCKET_PROTOCOL).any(|word| word == SUBPROTOCOL) {
        answers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok((response, client, upgrade))
}

/// Whether a header contains the word `wanted`. Upper and lower case are equal.
fn has_word(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
}

/// Returns the words of a header whose value is a list separated by commas.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the client may open a WebSocket. Browsers let any page open one, and send the origin of the page. It must be a
/// configured origin, or have the host to which the page connects. Other clients send no origin.
fn is_allowed_origin(headers: &HeaderMap, allowed: &[HeaderValue]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    if allowed.contains(origin) {
        return true;
    }
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).ok();
    // The scheme is not compared, because a proxy can accept https and connect to the server with http.
    let (Some(origin), Some(host)) = (text(origin), headers.get(HOST).and_then(text)) else { return false };
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| authority == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_may_not_open_a_websocket() {
        let allowed = [HeaderValue::from_static("https://app.example.com")];
        for (origin, host, is_allowed) in [
            (None, "api.example.com", true),
            (Some("https://app.example.com"), "api.example.com", true),
            (Some("https://api.example.com"), "api.example.com", true),
            (Some("http://localhost:4567"), "LOCALHOST:4567", true),
            (Some("http://localhost:3000"), "localhost:4567", false),
            (Some("https://evil.example"), "api.example.com", false),
            (Some("https://api.example.com.evil.example"), "api.example.com", false),
            (Some("null"), "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a host"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().expect("an origin"));
            }
            assert_eq!(is_allowed_origin(&headers, &allowed), is_allowed, "{origin:?} {host}");
        }
    }
}
