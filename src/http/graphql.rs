//! GraphQL over HTTP, by the letter of its specification (graphql.github.io/graphql-over-http).
//!
//! The handlers of async-graphql-axum run mutations on GET, take batches and multipart bodies and have no limit on the
//! body; none of that may be, so the request is read here.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::body::{Incoming, Unread};
use super::negotiation::{Media, negotiate};
use super::reply::{answer, errors_only, method_not_allowed, overloaded, refuse, timed_out, token_refused};
use super::told::Told;
use super::{Api, with_request_id};
use crate::auth::{TokenError, VerifiedToken};
use crate::graphql::documents::{Asked, Refused};
use crate::graphql::{RequestContext, name_uncoded, tell_stored};

const ALLOWED: &str = "GET, POST";
/// The only encoding of a body that is read.
const IDENTITY: &str = "identity";

/// The parameters of a request, checked for their types.
#[derive(Debug, Default)]
struct Parameters {
    document: Asked,
    operation_name: Option<String>,
    variables: Map<String, Value>,
}

/// The parameters as a GET spells them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlParameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
    document_id: Option<String>,
}

/// The parameters before their types are checked. Of a name that is twice in a body the last counts.
#[derive(Default)]
struct Unchecked {
    query: Value,
    operation_name: Value,
    variables: Value,
    extensions: Value,
    document_id: Value,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Parameter {
    Query,
    OperationName,
    Variables,
    Extensions,
    DocumentId,
    #[serde(other)]
    Unknown,
}

impl<'de> Deserialize<'de> for Unchecked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Unchecked;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unchecked, A::Error> {
                let mut read = Unchecked::default();
                while let Some(name) = map.next_key()? {
                    // What nobody asks for has to be JSON too.
                    let value = map.next_value()?;
                    match name {
                        Parameter::Query => read.query = value,
                        Parameter::OperationName => read.operation_name = value,
                        Parameter::Variables => read.variables = value,
                        Parameter::Extensions => read.extensions = value,
                        Parameter::DocumentId => read.document_id = value,
                        Parameter::Unknown => {}
                    }
                }
                Ok(read)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// Answers a request.
pub async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    let answer = async |request| {
        let mut told = Told::begin();
        let response = admit(&api, request, &mut told).await;
        told.end(&response);
        response
    };
    with_request_id(request, answer).await
}

async fn admit(api: &Api, request: Request, told: &mut Told) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = Incoming::new(body);
    let response = place(api, &parts, &mut body, told).await;
    body.drop_rest(&parts.headers);
    response
}

async fn place(api: &Api, parts: &Parts, body: &mut Incoming, told: &mut Told) -> Response {
    let Some(media) = negotiate(&parts.headers) else {
        let message = "The answer can be application/graphql-response+json or application/json.";
        return refuse(Media::Json, StatusCode::NOT_ACCEPTABLE, "not_acceptable", message);
    };
    // Whoever comes when all places are taken is told at once: waiting would only make it later for everybody.
    let Ok(_place) = api.places.try_acquire() else { return overloaded(media) };
    respond(api, media, parts, body, told).await.unwrap_or_else(|refusal| *refusal)
}

async fn respond(
    api: &Api,
    media: Media,
    parts: &Parts,
    body: &mut Incoming,
    told: &mut Told,
) -> Result<Response, Box<Response>> {
    let bad = |reason, message: String| Box::new(refuse(media, StatusCode::BAD_REQUEST, reason, message));
    let parameters = match parts.method {
        Method::GET => read_url(parts.uri.query().unwrap_or_default()).map_err(|it| bad("parameters_invalid", it))?,
        Method::POST => {
            if !is_json(&parts.headers) {
                let message = "The body must be application/json in UTF-8.";
                return Err(Box::new(refuse(media, StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)));
            }
            if is_encoded(&parts.headers) {
                let message = "The body must not be compressed.";
                let mut response = refuse(media, StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded", message);
                response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
                return Err(Box::new(response));
            }
            let body =
                body.read(api.limits.body_bytes).await.map_err(|unread| Box::new(unusable(media, unread, api)))?;
            read_body(&body).map_err(|it| bad("parameters_invalid", it))?
        }
        _ => return Err(Box::new(method_not_allowed(media, ALLOWED, "Use GET or POST."))),
    };
    let token = authenticate(api, &parts.headers).await.map_err(|error| Box::new(token_refused(media, error)))?;
    let Parameters { document, operation_name, variables } = parameters;
    let request_status = if media == Media::Json { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let refused = |Refused(errors)| Box::new(errors_only(media, request_status, &errors));
    let prepared = api.documents.find(&document).map_err(refused)?;
    let chosen = prepared.choose(operation_name.as_deref()).map_err(refused)?;
    let is_query = chosen.facts.is_query;
    told.operation = Some(chosen.facts.clone());
    if parts.method == Method::GET && !is_query {
        return Err(Box::new(method_not_allowed(media, "POST", "A GET runs queries only.")));
    }
    let request = api.documents.request(&chosen, variables).map_err(refused)?;
    let context = RequestContext::new(api.messaging.clone(), token);
    let request = request.data(context.clone());
    let executed = tokio::time::timeout(api.limits.request_timeout, api.schema.execute(request)).await;
    // A mutation that is given up may have been done all the same.
    let mut response = executed.map_err(|_| Box::new(timed_out(media, !is_query)))?;
    // The engine's own errors are of the request; the fields' have codes.
    let request_error = name_uncoded(&mut response) && response.data == async_graphql::Value::Null;
    chosen.locate(&mut response.errors);
    if context.has_stored() {
        tell_stored(&mut response);
    }
    let status = match media {
        Media::GraphqlResponse if request_error => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    Ok(if request_error { errors_only(media, status, &response.errors) } else { answer(media, status, response) })
}

fn unusable(media: Media, unread: Unread, api: &Api) -> Response {
    let (status, reason, message) = match unread {
        Unread::TooLong => {
            let message = format!("The body is longer than {} bytes.", api.limits.body_bytes);
            (StatusCode::PAYLOAD_TOO_LARGE, "max_body_exceeded", message)
        }
        Unread::Late => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not come in time.".to_owned()),
        Unread::Cut => (StatusCode::BAD_REQUEST, "body_cut", "The body is cut off.".to_owned()),
    };
    refuse(media, status, reason, message)
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

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|line| !line.as_bytes().eq_ignore_ascii_case(IDENTITY.as_bytes()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let Ok(text) = line.to_str() else { return false };
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
    parameters(Unchecked {
        query: url.query.map_or(Value::Null, Value::String),
        operation_name: url.operation_name.filter(|name| !name.is_empty()).map_or(Value::Null, Value::String),
        variables: json("variables", url.variables)?,
        extensions: json("extensions", url.extensions)?,
        document_id: url.document_id.map_or(Value::Null, Value::String),
    })
}

fn read_body(body: &[u8]) -> Result<Parameters, String> {
    parameters(serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => "The body must be one JSON object.".to_owned(),
        _ => format!("The body is not JSON: {error}."),
    })?)
}

fn parameters(unchecked: Unchecked) -> Result<Parameters, String> {
    let Unchecked { query, operation_name, variables, extensions, document_id } = unchecked;
    let text = |name: &str, value| match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(format!("`{name}` must be a string.")),
    };
    if !matches!(extensions, Value::Null | Value::Object(_)) {
        return Err("`extensions` must be an object.".to_owned());
    }
    let document = Asked::read(text("query", query)?, &extensions, text("documentId", document_id)?)?;
    if document == Asked::default() {
        return Err("`query` must be there and be a string.".to_owned());
    }
    let operation_name = text("operationName", operation_name)?.filter(|name| !name.is_empty());
    match variables {
        Value::Null => Ok(Parameters { document, operation_name, variables: Map::new() }),
        Value::Object(variables) => Ok(Parameters { document, operation_name, variables }),
        _ => Err("`variables` must be an object.".to_owned()),
    }
}
