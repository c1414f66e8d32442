//! The GraphiQL page. Its scripts come from a CDN, pinned by version and hash.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use serde_json::json;

use super::api::Api;

const PAGE: &str = include_str!("graphiql.html");
/// Placeholder for the settings in the page.
const SETTINGS: &str = "{/* settings */}";
const POLICY: &str = "default-src 'none'; script-src https://unpkg.com 'unsafe-inline'; worker-src blob:; \
    style-src https://unpkg.com 'unsafe-inline'; font-src data: https://unpkg.com; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, with an access token if there is one.
pub async fn page(State(api): State<Arc<Api>>, headers: HeaderMap) -> impl IntoResponse {
    // Another host name can belong to a foreign page whose name resolves to this machine (DNS rebinding).
    let token = api.graphiql_token.as_ref().filter(|_| names_this_machine(&headers));
    let headers = token.map(|token| {
        let headers = json!({ "Authorization": format!("Bearer {token}") });
        serde_json::to_string_pretty(&headers).unwrap_or_default()
    });
    // `<` could end the script element.
    let settings = json!({ "headers": headers }).to_string().replace('<', "\\u003c");
    let headers: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE.replace(SETTINGS, &settings))
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    let name = host.as_ref().map(Authority::host).unwrap_or_default();
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
