//! The GraphiQL page. Its scripts are the published files of GraphiQL 3.9.0 and React 18.3.1, in `web/graphiql`. Later
//! versions of GraphiQL are not used, because they are four times as large.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::Embed;
use serde_json::json;

use super::api::Api;
use super::assets::{self, Caching};
use super::this_machine::is_from_this_machine;

const PAGE: &str = include_str!("graphiql.html");
/// Placeholder for the settings in the page.
const SETTINGS: &str = "{/* settings */}";
// `'unsafe-inline'` is necessary, because GraphiQL's editor adds style elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src blob:; style-src 'self' 'unsafe-inline'; font-src data:; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files that the page loads.
#[derive(Embed)]
#[folder = "web/graphiql"]
struct Files;

/// Responds with a file that the page loads.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    assets::respond::<Files>(&name, &headers, Caching::Revalidate)
        .unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// Responds with the page. It contains the access token of `dev`, if there is one and the client runs on this machine.
pub async fn page(State(api): State<Arc<Api>>, request: Request) -> impl IntoResponse {
    let token = api.graphiql_token.as_ref().filter(|_| is_from_this_machine(&request));
    let headers = token.map(|token| {
        let headers = json!({ "Authorization": format!("Bearer {token}") });
        serde_json::to_string_pretty(&headers).unwrap_or_default()
    });
    // `<` is escaped, because `</script>` in a text would end the element.
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
