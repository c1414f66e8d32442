//! GraphQL over HTTP, by the letter of its specification (graphql.github.io/graphql-over-http).
//!
//! The handlers of async-graphql-axum run mutations on GET, take batches and multipart bodies and have no limit on the
//! body; none of that may be, so the request is read here.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{Request as GraphqlRequest, Variables};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::negotiation::{Media, negotiate};
use super::reply::{answer, errors_only, method_not_allowed, refuse, token_refused};
use crate::auth::{TokenError, VerifiedToken};
use crate::graphql::{RequestContext, limits, name_uncoded};

/// The largest body, in bytes: a message of 1024 characters, escaped, with a long document around it.
const MAX_BODY: usize = 256 * 1024;
/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
const ALLOWED: &str = "GET, POST";

/// The parameters of a request, checked for their types.
#[derive(Debug, Default)]
struct Parameters {
    query: String,
    operation_name: Option<String>,
    variables: Variables,
}

/// The parameters as a GET spells them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlParameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// Answers a request.
pub async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(media) = negotiate(&parts.headers) else {
        let message = "The answer can be application/graphql-response+json or application/json.";
        return refuse(Media::Json, StatusCode::NOT_ACCEPTABLE, "not_acceptable", message);
    };
    respond(&api, media, parts, body).await.unwrap_or_else(|refusal| *refusal)
}

async fn respond(api: &Api, media: Media, parts: Parts, body: Body) -> Result<Response, Box<Response>> {
    let bad = |reason, message: String| Box::new(refuse(media, StatusCode::BAD_REQUEST, reason, message));
    let parameters = match parts.method {
        Method::GET => read_url(parts.uri.query().unwrap_or_default()).map_err(|it| bad("parameters_invalid", it))?,
        Method::POST => {
            if !is_json(&parts.headers) {
                let message = "The body must be application/json in UTF-8.";
                return Err(Box::new(refuse(media, StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)));
            }
            let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await.map_err(|_| {
                let message = "The body did not come in time.";
                Box::new(refuse(media, StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
            })?;
            let body = body.map_err(|_| {
                let message = format!("The body is cut off or longer than {MAX_BODY} bytes.");
                Box::new(refuse(media, StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
            })?;
            read_body(&body).map_err(|it| bad("parameters_invalid", it))?
        }
        _ => return Err(Box::new(method_not_allowed(media, ALLOWED, "Use GET or POST."))),
    };
    let token = authenticate(api, &parts.headers).await.map_err(|error| Box::new(token_refused(media, error)))?;
    let Parameters { query, operation_name, variables } = parameters;
    let mut request = GraphqlRequest::new(query).variables(variables);
    if let Ok(document) = request.parsed_query()
        && let Err(error) = limits::check(document)
    {
        let status = if media == Media::Json { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        return Err(Box::new(errors_only(media, status, &[error])));
    }
    if parts.method == Method::GET {
        // What does not parse, or names no operation of the document, is told so by the execution.
        let queries_only = request
            .parsed_query()
            .map_or(true, |document| is_query(document, operation_name.as_deref()).unwrap_or(true));
        if !queries_only {
            return Err(Box::new(method_not_allowed(media, "POST", "A GET runs queries only.")));
        }
    }
    request.operation_name = operation_name;
    let mut response = api.schema.execute(request.data(RequestContext::new(api.messaging.clone(), token))).await;
    // The engine's own errors are of the request; the fields' have codes.
    let request_error = name_uncoded(&mut response) && response.data == async_graphql::Value::Null;
    let status = match media {
        Media::GraphqlResponse if request_error => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    Ok(if request_error { errors_only(media, status, &response.errors) } else { answer(media, status, response) })
}

/// The verified token of a request, or `None` when it brings none.
async fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Option<VerifiedToken>, TokenError> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(TokenError::Header);
    }
    let (scheme, token) = line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or(TokenError::Header)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(TokenError::Header);
    }
    api.verifier.verify(token).await.map(Some)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let utf8 = parts.filter_map(|it| it.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    essence.eq_ignore_ascii_case("application/json") && utf8
}

fn read_url(query: &str) -> Result<Parameters, String> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|error| format!("The URL's parameters cannot be read: {error}."))?;
    let axum::extract::Query(url) = axum::extract::Query::<UrlParameters>::try_from_uri(&uri)
        .map_err(|error| format!("The URL's parameters cannot be read: {}.", error.body_text()))?;
    let json = |name: &str, text: Option<String>| match text.filter(|text| !text.is_empty()) {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(&text).map_err(|error| format!("`{name}` is not JSON: {error}.")),
    };
    parameters(
        url.query.map_or(Value::Null, Value::String),
        url.operation_name.filter(|name| !name.is_empty()).map_or(Value::Null, Value::String),
        json("variables", url.variables)?,
        json("extensions", url.extensions)?,
    )
}

fn read_body(body: &[u8]) -> Result<Parameters, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("The body is not JSON: {error}."))?;
    let Value::Object(mut object) = body else { return Err("The body must be one JSON object.".to_owned()) };
    let mut take = |name| object.remove(name).unwrap_or(Value::Null);
    parameters(take("query"), take("operationName"), take("variables"), take("extensions"))
}

fn parameters(query: Value, operation_name: Value, variables: Value, extensions: Value) -> Result<Parameters, String> {
    let Value::String(query) = query else { return Err("`query` must be there and be a string.".to_owned()) };
    let operation_name = match operation_name {
        Value::Null => None,
        Value::String(name) => Some(name).filter(|name| !name.is_empty()),
        _ => return Err("`operationName` must be a string.".to_owned()),
    };
    if !matches!(extensions, Value::Null | Value::Object(_)) {
        return Err("`extensions` must be an object.".to_owned());
    }
    match variables {
        Value::Null => Ok(Parameters { query, operation_name, variables: Variables::default() }),
        Value::Object(_) => Ok(Parameters { query, operation_name, variables: Variables::from_json(variables) }),
        _ => Err("`variables` must be an object.".to_owned()),
    }
}

/// Whether the operation that would run is a query; `None` when it cannot be told which one would.
fn is_query(document: &ExecutableDocument, name: Option<&str>) -> Option<bool> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) => {
            // Which one is an error of its own; none of them may be more than a query.
            return Some(operations.values().all(|operation| operation.node.ty == OperationType::Query));
        }
    };
    Some(operation.node.ty == OperationType::Query)
}
