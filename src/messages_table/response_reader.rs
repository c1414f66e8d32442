//! Sends a Query and decodes its response without the SDK's maps.
//!
//! The SDK decodes each item into a `HashMap<String, AttributeValue>`, with one allocation for each name and each value:
//! <https://github.com/awslabs/aws-sdk-rust/blob/main/sdk/dynamodb/src/protocol_serde/shape_attribute_map.rs>. For a page of
//! message groups, this takes about 60 µs of 250 µs. The SDK has no hook for typed decoding; see
//! <https://github.com/awslabs/aws-sdk-rust/issues/276> and <https://github.com/awslabs/aws-sdk-rust/issues/269>.
//!
//! [`send`] is the only function that other modules use. `contract.rs` compares it with the SDK's own decoding. The response
//! format is described in "DynamoDB low-level API" in the developer guide.

#[cfg(test)]
mod contract;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_dynamodb::config::{Builder, Config, ConfigBag, Intercept, RuntimeComponents, SharedInterceptor};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::attributes::{Attribute, Attributes, Convert, Item, ItemError};
use super::error::{TableError, classify};
use super::items::PROJECTION;
use crate::metrics::{self, Target};

/// One page of a Query.
#[derive(Debug, PartialEq)]
pub(super) struct QueryPage<T> {
    /// The converted items in the order of the response.
    pub items: Vec<Result<T, ItemError>>,
    /// The start key of the next page. `None` if this page is the last one.
    pub next_key: Option<Item>,
    /// Consumed capacity units. 0 if the response does not report them.
    pub units: f64,
}

/// Sends a Query and converts each item of the response with `convert`.
///
/// # Errors
/// Errors of the call, as [`classify`] classifies them. A successful response that is not a Query response is
/// [`TableError::Unavailable`], because something other than DynamoDB must have sent it.
pub(super) async fn send<T>(request: QueryFluentBuilder, convert: Convert<T>) -> Result<QueryPage<T>, TableError> {
    let captured = CapturedBody::default();
    let request = request.customize().config_override(captured.configuration());
    // The future is boxed, because it is large, and every future that awaits it would be as large.
    Box::pin(request.send()).await.map_err(|error| classify("Query", error))?;
    decode(&captured.take(), convert).map_err(|error| {
        metrics::failed(Target::Messages, "Query", "unreadable");
        TableError::Unavailable { operation: "Query", code: None, source: Arc::new(error) }
    })
}

fn decode<T>(body: &[u8], convert: Convert<T>) -> Result<QueryPage<T>, serde_json::Error> {
    // Parsing a `str` avoids a UTF-8 check of each string. If the UTF-8 is invalid, `from_slice` returns an error with the
    // position.
    let response: QueryResponse<'_> =
        std::str::from_utf8(body).map_or_else(|_| serde_json::from_slice(body), serde_json::from_str)?;
    let key_attribute = |(name, value): (String, ProjectedValue<'_>)| match value {
        ProjectedValue::Text(text) => Ok((name, AttributeValue::S(text.into_owned()))),
        _ => Err(serde_json::Error::custom(format!("key attribute `{name}` is not a string"))),
    };
    let next_key = response.last_evaluated_key.map(|key| key.into_iter().map(key_attribute).collect()).transpose()?;
    Ok(QueryPage {
        items: response.items.iter().flatten().map(|item| convert(item)).collect(),
        next_key,
        units: response.consumed_capacity.and_then(|capacity| capacity.capacity_units).unwrap_or_default(),
    })
}

/// An interceptor that takes the body of a successful response. The SDK then decodes an empty body. The bodies of error
/// responses are left to the SDK.
#[derive(Clone, Debug, Default)]
struct CapturedBody(Arc<Mutex<Vec<u8>>>);

impl CapturedBody {
    fn body(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of the call whose body is captured.
    fn configuration(&self) -> Builder {
        let mut config = Config::builder();
        config.push_interceptor(SharedInterceptor::permanent(self.clone()));
        config
    }

    /// The body of the last attempt.
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.body())
    }
}

impl Intercept for CapturedBody {
    fn name(&self) -> &'static str {
        "CapturedBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.body().clear();
        let response = context.response_mut();
        if response.status().is_success() {
            let body = mem::replace(response.body_mut(), SdkBody::taken());
            let captured = self.clone();
            let body = body.map_frame(move |frame| {
                captured.body().extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                frame.map_data(|_| Bytes::new())
            });
            *response.body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryResponse<'a> {
    #[serde(borrow)]
    items: Option<Vec<ProjectedItem<'a>>>,
    #[serde(borrow)]
    last_evaluated_key: Option<HashMap<String, ProjectedValue<'a>>>,
    consumed_capacity: Option<Capacity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Capacity {
    capacity_units: Option<f64>,
}

/// An item of which only the attributes in [`PROJECTION`] are kept, each at its index there.
#[derive(Default)]
struct ProjectedItem<'a>([Option<ProjectedValue<'a>>; PROJECTION.len()]);

impl Attributes for ProjectedItem<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let index = PROJECTION.iter().position(|projected| *projected == name)?;
        Some(match self.0.get(index)?.as_ref()? {
            ProjectedValue::Text(text) => Attribute::Text(text),
            ProjectedValue::Number(number) => Attribute::Number(number),
            ProjectedValue::Other => Attribute::Other,
        })
    }
}

/// The value of an attribute. Keys and projected attributes are strings or numbers, so no other type is decoded.
enum ProjectedValue<'a> {
    /// Type `S`. Borrowed from the body unless the JSON text contains escapes.
    Text(Cow<'a, str>),
    /// Type `N`.
    Number(Cow<'a, str>),
    Other,
}

/// A JSON string. Serde borrows a `Cow` only where a field has the attribute `borrow`.
#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for ProjectedItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = ProjectedItem<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut item = ProjectedItem::default();
                while let Some(JsonText(name)) = map.next_key()? {
                    match item.0.iter_mut().zip(PROJECTION).find(|(_, projected)| *projected == name) {
                        Some((slot, _)) => *slot = Some(map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(item)
            }
        }
        deserializer.deserialize_map(ItemVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ProjectedValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = ProjectedValue<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an attribute value")
            }

            /// Like the SDK, ignores `__type` and members that are null, and rejects a value without a type or with two types.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = None;
                while let Some(JsonText(kind)) = map.next_key()? {
                    let value = match &*kind {
                        "S" => {
                            map.next_value::<Option<JsonText<'de>>>()?.map(|JsonText(text)| ProjectedValue::Text(text))
                        }
                        "N" => {
                            let number = map.next_value::<Option<JsonText<'de>>>()?;
                            number.map(|JsonText(number)| ProjectedValue::Number(number))
                        }
                        "__type" => map.next_value::<IgnoredAny>().map(|_| None)?,
                        _ => map.next_value::<Option<IgnoredAny>>()?.map(|_| ProjectedValue::Other),
                    };
                    if value.is_some() && found.is_some() {
                        return Err(A::Error::custom("an attribute value has two types"));
                    }
                    found = found.or(value);
                }
                found.ok_or_else(|| A::Error::custom("an attribute value has no type"))
            }
        }
        deserializer.deserialize_map(ValueVisitor)
    }
}
