//! Serves the web client: the files in `web/dist`, and the configuration that the client reads when it starts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;
use serde_json::json;

use super::api::Api;
use super::assets::{self, Caching};
use crate::config::{SignInIssuer, WebClient, local_origin};

/// The files of the client.
#[derive(Embed)]
#[folder = "web/dist"]
struct Files;

/// The only page of the client. Its script decides by the path what it shows.
const PAGE: &str = "index.html";
/// First segments of the paths for which the server sends the page.
const PAGES: [&str; 3] = ["messages", "callback", "signed-out"];
/// The folder of files whose names contain a hash of their content.
const HASHED: &str = "assets/";
/// The scopes that the client requests. With them, Cognito's user info endpoint returns the profile and the e-mail address.
const SCOPE: &str = "openid profile email";

/// Responds to a request for which there is no other route: with a file, the configuration, the page or 404.
pub async fn respond(State(api): State<Arc<Api>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let Some(web) = api.web_client.as_ref().filter(|_| matches!(method, Method::GET | Method::HEAD)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let path = uri.path().trim_start_matches('/');
    if path == "config.json" {
        return configuration(web, &headers);
    }
    if path != PAGE
        && let Some(file) = assets::respond::<Files>(path, &headers, caching(path))
    {
        return file;
    }
    let is_page = path.is_empty() || PAGES.iter().any(|page| path.split('/').next() == Some(page));
    let page = is_page.then(|| assets::respond::<Files>(PAGE, &headers, Caching::Revalidate)).flatten();
    match page {
        Some(page) => (security_headers(web), page).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn caching(path: &str) -> Caching {
    if path.starts_with(HASHED) { Caching::Immutable } else { Caching::Revalidate }
}

/// Responds with the configuration: where users sign in and out.
fn configuration(web: &WebClient, headers: &HeaderMap) -> Response {
    let (authority, logout_url) = match &web.issuer {
        SignInIssuer::ThisServer => (local_origin(headers), Some("/logout")),
        // The client signs out at the address that the pool publishes.
        SignInIssuer::UserPool(issuer) => (issuer.clone(), None),
    };
    let configuration =
        json!({ "authority": authority, "clientId": web.client_id, "scope": SCOPE, "logoutUrl": logout_url });
    ([(CACHE_CONTROL, "no-store")], Json(configuration)).into_response()
}

/// Returns headers that let the page run only its own scripts, and connect only to this server and the configured origins.
fn security_headers(web: &WebClient) -> [(HeaderName, HeaderValue); 3] {
    let connect = web.connect_origins.iter().fold("'self'".to_owned(), |all, origin| format!("{all} {origin}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         manifest-src 'self'; connect-src {connect}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    // The origins were checked when the server started, so they are valid in a header.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ]
}
