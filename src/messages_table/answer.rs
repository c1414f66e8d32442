//! Answers to a Query, read without the SDK: it makes a map of every item, with an allocation for each name and value,
//! which is a fifth of what a page of groups costs the server.
//!
//! Source of the format: "DynamoDB low-level API", developer guide.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_dynamodb::config::{Builder, Config, ConfigBag, Intercept, RuntimeComponents, SharedInterceptor};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::items::{Attribute, Attributes, Item, PROJECTION};

/// Takes the body of a good answer away from the SDK, which sees an empty one. Errors stay with it.
#[derive(Clone, Debug, Default)]
pub(super) struct TakeBody(Arc<Mutex<Vec<u8>>>);

impl TakeBody {
    fn body(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of a call whose body is to be taken.
    pub fn taken_from(&self) -> Builder {
        let mut config = Config::builder();
        config.push_interceptor(SharedInterceptor::permanent(self.clone()));
        config
    }

    /// What was taken of the last attempt.
    pub fn taken(&self) -> Vec<u8> {
        mem::take(&mut self.body())
    }
}

impl Intercept for TakeBody {
    fn name(&self) -> &'static str {
        "TakeBody"
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
            let taken = self.clone();
            let body = body.map_frame(move |frame| {
                taken.body().extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                frame.map_data(|_| Bytes::new())
            });
            *response.body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}

/// A page of a Query.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    items: Option<Vec<Projected<'a>>>,
    #[serde(borrow)]
    last_evaluated_key: Option<HashMap<String, Value<'a>>>,
    consumed_capacity: Option<Capacity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Capacity {
    capacity_units: Option<f64>,
}

/// An attribute's value, of which a text is read; no key and nothing projected is anything else.
#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow, rename = "S")]
    text: Option<Text<'a>>,
}

/// A text of the body, copied only where it is escaped there.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        self.text.as_ref().map(|Text(text)| &**text)
    }
}

/// An item of which only the attributes of [`PROJECTION`] are read, each in its place there.
#[derive(Default)]
pub(super) struct Projected<'a>([Option<Value<'a>>; PROJECTION.len()]);

impl<'a> Answer<'a> {
    /// Reads the body of an answer.
    pub fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        // Of a text, the reader need not check each string's encoding by itself. What is no text it tells of best.
        std::str::from_utf8(body).map_or_else(|_| serde_json::from_slice(body), serde_json::from_str)
    }

    /// Its items.
    pub fn items(&self) -> &[Projected<'a>] {
        self.items.as_deref().unwrap_or_default()
    }

    /// Capacity units that the page took.
    pub fn units(&self) -> f64 {
        self.consumed_capacity.as_ref().and_then(|capacity| capacity.capacity_units).unwrap_or_default()
    }

    /// Where the next page begins; `None` behind the last one.
    pub fn next_key(&self) -> Option<Item> {
        let attribute = |(name, value): (&String, &Value<'_>)| {
            (name.clone(), AttributeValue::S(value.text().unwrap_or_default().to_owned()))
        };
        self.last_evaluated_key.as_ref().map(|key| key.iter().map(attribute).collect())
    }
}

impl Attributes for Projected<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let place = PROJECTION.iter().position(|projected| *projected == name)?;
        let value = self.0.get(place)?.as_ref()?;
        Some(value.text().map_or(Attribute::Other, Attribute::Text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Projected<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Projected<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut item = Projected::default();
                while let Some(Text(name)) = map.next_key()? {
                    match item.0.iter_mut().zip(PROJECTION).find(|(_, projected)| *projected == name) {
                        Some((place, _)) => *place = Some(map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(item)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages_table::items::{MESSAGE, USER_UUID};
    use crate::messages_table::keys::{PK, SK};

    #[test]
    fn a_page_is_read() {
        let body = br#"{"ConsumedCapacity":{"TableName":"t","CapacityUnits":1.5},"Count":1,"Items":[{"pk":{"S":"a"},
            "message":{"S":"say \"\u00e9\"\n"},"other":{"M":{"deep":{"L":[{"N":"1"}]}}},"sk":{"N":"7"}}],
            "LastEvaluatedKey":{"pk":{"S":"a"},"sk":{"S":"\ud83d\ude00"}},"ScannedCount":3}"#;
        let answer = Answer::read(body).expect("a page");
        assert_eq!(answer.units().to_bits(), 1.5f64.to_bits());
        let [item] = answer.items() else { panic!("one item") };
        assert_eq!(item.attribute(PK), Some(Attribute::Text("a")));
        assert_eq!(item.attribute(MESSAGE), Some(Attribute::Text("say \"é\"\n")));
        assert_eq!((item.attribute(SK), item.attribute(USER_UUID)), (Some(Attribute::Other), None));
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let next = Item::from([("pk".to_owned(), text("a")), ("sk".to_owned(), text("😀"))]);
        assert_eq!(answer.next_key(), Some(next));
    }

    #[test]
    fn a_text_is_borrowed_where_it_can_be() {
        let body = br#"{"Items":[{"pk":{"S":"plain"},"sk":{"S":"\"escaped\""}}]}"#;
        let answer = Answer::read(body).expect("a page");
        let [Projected([Some(Value { text: Some(Text(pk)) }), Some(Value { text: Some(Text(sk)) }), ..])] =
            answer.items()
        else {
            panic!("one item with both")
        };
        assert!(matches!((pk, sk), (Cow::Borrowed("plain"), Cow::Owned(_))), "{pk} {sk}");
    }

    #[test]
    fn what_is_missing_is_nothing_and_what_is_no_page_is_an_error() {
        let answer = Answer::read(b"{}").expect("a page");
        assert_eq!((answer.items().len(), answer.next_key(), answer.units().to_bits()), (0, None, 0));
        for body in [
            &b""[..],
            b"<html>",
            b"{\"Items\":7}",
            b"{\"Items\":[{\"pk\":\"a\"}]}",
            b"{\"Items\":[{\"pk\":{\"S\":7}}]}",
        ] {
            assert!(Answer::read(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
