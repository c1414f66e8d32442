//! Items of any kind, and access to their attributes.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use super::keys::{PK, SK};

/// An item in the SDK's representation.
pub type Item = HashMap<String, AttributeValue>;

/// Returns an item that consists of its primary key only.
pub fn primary_key(pk: String, sk: &str) -> Item {
    Item::from([(PK.to_owned(), AttributeValue::S(pk)), (SK.to_owned(), text(sk))])
}

/// Error of an item whose attributes do not match the kind of item that its key indicates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {pk} / {sk}: attribute {attribute} {problem}")]
pub struct ItemError {
    pk: String,
    sk: String,
    pub(super) attribute: &'static str,
    problem: &'static str,
}

/// The value of an attribute. Conversion needs only strings and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A string.
    Text(&'a str),
    /// A number, as DynamoDB writes it.
    Number(&'a str),
    /// A value of another type.
    Other,
}

/// Access to an item's attributes, decoded by the SDK or by [`response_reader`](super::response_reader).
pub trait Attributes {
    /// Returns the attribute `name`, or `None` if the item lacks it.
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;
}

impl Attributes for Item {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.get(name).map(|value| match value {
            AttributeValue::S(text) => Attribute::Text(text),
            AttributeValue::N(number) => Attribute::Number(number),
            _ => Attribute::Other,
        })
    }
}

/// Converts one item.
pub(super) type Convert<T> = fn(&dyn Attributes) -> Result<T, ItemError>;

/// Reads attributes of one item. Its errors name the item.
pub(crate) struct AttributeReader<'a>(pub &'a dyn Attributes);

impl AttributeReader<'_> {
    /// An error about `attribute`. `problem` completes a sentence that starts with the attribute.
    pub fn error(&self, attribute: &'static str, problem: &'static str) -> ItemError {
        let key = |name: &str| match self.0.attribute(name) {
            Some(Attribute::Text(text)) => text.to_owned(),
            _ => String::new(),
        };
        ItemError { pk: key(PK), sk: key(SK), attribute, problem }
    }

    pub fn text(&self, attribute: &'static str) -> Result<&str, ItemError> {
        self.optional_text(attribute)?.ok_or_else(|| self.error(attribute, "is missing"))
    }

    pub fn optional_text(&self, attribute: &'static str) -> Result<Option<&str>, ItemError> {
        match self.0.attribute(attribute) {
            Some(Attribute::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(attribute, "is not a string")),
            None => Ok(None),
        }
    }

    pub fn number<T: FromStr>(&self, attribute: &'static str) -> Result<T, ItemError> {
        self.optional_number(attribute)?.ok_or_else(|| self.error(attribute, "is missing"))
    }

    pub fn optional_number<T: FromStr>(&self, attribute: &'static str) -> Result<Option<T>, ItemError> {
        let malformed = || self.error(attribute, "is not a number of its range");
        match self.0.attribute(attribute) {
            Some(Attribute::Number(number)) => number.parse().map(Some).map_err(|_| malformed()),
            Some(_) => Err(malformed()),
            None => Ok(None),
        }
    }

    pub fn uuid(&self, attribute: &'static str) -> Result<Uuid, ItemError> {
        Uuid::try_parse(self.text(attribute)?).map_err(|_| self.error(attribute, "is not a uuid"))
    }
}

/// The value of a string attribute.
pub(crate) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// The value of a number attribute.
pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
