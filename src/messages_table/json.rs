//! Converts items to JSON for the output of `ddb scan`.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::attributes::Item;

/// Converts an item to a JSON object. Binary values become base64, and sets become arrays.
pub fn to_json(item: &Item) -> Value {
    let mut names: Vec<&String> = item.keys().collect();
    names.sort();
    Value::Object(names.into_iter().map(|name| (name.clone(), value(&item[name]))).collect())
}

fn value(attribute: &AttributeValue) -> Value {
    match attribute {
        AttributeValue::S(text) => Value::String(text.clone()),
        AttributeValue::N(number) => number_value(number),
        AttributeValue::Bool(bool) => Value::Bool(*bool),
        AttributeValue::B(blob) => base64(blob),
        AttributeValue::Ss(texts) => Value::Array(texts.iter().cloned().map(Value::String).collect()),
        AttributeValue::Ns(numbers) => Value::Array(numbers.iter().map(|number| number_value(number)).collect()),
        AttributeValue::Bs(blobs) => Value::Array(blobs.iter().map(base64).collect()),
        AttributeValue::L(values) => Value::Array(values.iter().map(value).collect()),
        AttributeValue::M(values) => {
            Value::Object(values.iter().map(|(name, it)| (name.clone(), value(it))).collect::<Map<_, _>>())
        }
        // NULL, and types that a later version of DynamoDB may add.
        _ => Value::Null,
    }
}

/// Converts a number. A number that is too large for `serde_json` becomes a string.
fn number_value(text: &str) -> Value {
    serde_json::from_str(text).ok().filter(Value::is_number).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn base64(blob: &Blob) -> Value {
    Value::String(STANDARD.encode(blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_type_is_converted() {
        let item = Item::from(
            [
                ("text", AttributeValue::S("a".into())),
                ("number", AttributeValue::N("1.5".into())),
                ("large", AttributeValue::N("1e400".into())),
                ("yes", AttributeValue::Bool(true)),
                ("nothing", AttributeValue::Null(true)),
                ("binary", AttributeValue::B(Blob::new([1, 2]))),
                ("list", AttributeValue::L(vec![AttributeValue::Ns(vec!["2".into()])])),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let json =
            r#"{"binary":"AQI=","large":"1e400","list":[[2]],"nothing":null,"number":1.5,"text":"a","yes":true}"#;
        assert_eq!(to_json(&item).to_string(), json);
    }
}
