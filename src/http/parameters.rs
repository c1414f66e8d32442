//! Reads the parameters of a GraphQL request from a body or a URL, and checks their types.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::documents::{DocumentRequest, PersistedQueryError};

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Parameters {
    /// The document.
    pub document: DocumentRequest,
    /// Name of the operation to execute. `None` if the document has only one.
    pub operation_name: Option<String>,
    /// The values of the operation's variables.
    pub variables: Map<String, Value>,
}

/// Why the parameters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The body is not JSON.
    #[error("The body is not JSON: {0}.")]
    BodyNotJson(serde_json::Error),
    /// The body is JSON, but not an object.
    #[error("The body must be one JSON object.")]
    BodyNotObject,
    /// The query string is not URL-encoded.
    #[error("The parameters of the URL cannot be read: {0}.")]
    Url(String),
    /// A parameter of the URL is not JSON.
    #[error("`{name}` is not JSON: {error}.")]
    NotJson {
        /// The parameter.
        name: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A parameter has the wrong type.
    #[error("`{name}` must be {expected}.")]
    Type {
        /// The parameter.
        name: &'static str,
        /// The type that it must have.
        expected: &'static str,
    },
    /// The extension `persistedQuery` is invalid.
    #[error(transparent)]
    PersistedQuery(#[from] PersistedQueryError),
    /// The request has no document.
    #[error("`query` is missing. It must be a string.")]
    NoDocument,
}

/// Reads the body of a POST request.
pub fn read_body(body: &[u8]) -> Result<Parameters, ParametersError> {
    let untyped: Untyped = serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => ParametersError::BodyNotObject,
        _ => ParametersError::BodyNotJson(error),
    })?;
    untyped.checked()
}

/// Reads the payload of a `subscribe` message on a socket.
pub fn read_payload(payload: Value) -> Result<Parameters, ParametersError> {
    let untyped = Untyped::deserialize(payload).map_err(|_| ParametersError::BodyNotObject)?;
    untyped.checked()
}

/// Reads the query string of a GET request.
pub fn read_url(query: &str) -> Result<Parameters, ParametersError> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|error| ParametersError::Url(error.to_string()))?;
    let axum::extract::Query(url) = axum::extract::Query::<UrlParameters>::try_from_uri(&uri)
        .map_err(|error| ParametersError::Url(error.body_text()))?;
    let json = |name, text: Option<String>| match text.filter(|text| !text.is_empty()) {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(&text).map_err(|error| ParametersError::NotJson { name, error }),
    };
    let untyped = Untyped {
        query: url.query.map_or(Value::Null, Value::String),
        operation_name: url.operation_name.map_or(Value::Null, Value::String),
        variables: json("variables", url.variables)?,
        extensions: json("extensions", url.extensions)?,
        document_id: url.document_id.map_or(Value::Null, Value::String),
    };
    untyped.checked()
}

/// The parameters of a URL.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlParameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
    document_id: Option<String>,
}

/// The parameters before their types are checked. If a body contains a name twice, the last value counts.
#[derive(Default)]
struct Untyped {
    query: Value,
    operation_name: Value,
    variables: Value,
    extensions: Value,
    document_id: Value,
}

impl Untyped {
    fn checked(self) -> Result<Parameters, ParametersError> {
        let Self { query, operation_name, variables, extensions, document_id } = self;
        let text = |name, value| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(ParametersError::Type { name, expected: "a string" }),
        };
        if !matches!(extensions, Value::Null | Value::Object(_)) {
            return Err(ParametersError::Type { name: "extensions", expected: "an object" });
        }
        let document = DocumentRequest::read(text("query", query)?, &extensions, text("documentId", document_id)?)?;
        if document.is_empty() {
            return Err(ParametersError::NoDocument);
        }
        let operation_name = text("operationName", operation_name)?.filter(|name| !name.is_empty());
        let variables = match variables {
            Value::Null => Map::new(),
            Value::Object(variables) => variables,
            _ => return Err(ParametersError::Type { name: "variables", expected: "an object" }),
        };
        Ok(Parameters { document, operation_name, variables })
    }
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

impl<'de> Deserialize<'de> for Untyped {
    /// Reads the known parameters without a map of all values. An unknown parameter must be valid JSON and is ignored.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Untyped;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Untyped, A::Error> {
                let mut untyped = Untyped::default();
                while let Some(name) = map.next_key()? {
                    let value = map.next_value()?;
                    match name {
                        Parameter::Query => untyped.query = value,
                        Parameter::OperationName => untyped.operation_name = value,
                        Parameter::Variables => untyped.variables = value,
                        Parameter::Extensions => untyped.extensions = value,
                        Parameter::DocumentId => untyped.document_id = value,
                        Parameter::Unknown => {}
                    }
                }
                Ok(untyped)
            }
        }

        deserializer.deserialize_map(Object)
    }
}
