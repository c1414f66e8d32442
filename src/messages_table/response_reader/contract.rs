//! Compares [`send`] with the SDK's own decoding. Both get the same response from a local HTTP server.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{QueryPage, decode, send};
use crate::aws::Aws;
use crate::messages_table::attributes::{Attribute, Attributes, Convert, Item, ItemError};
use crate::messages_table::fed::Fed;
use crate::messages_table::items::{self, PROJECTION};
use crate::messages_table::keys::SortKey;
use crate::messages_table::reading::Reading;
use crate::messages_table::records::{GroupRow, Membership, Message};
use crate::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};

/// A server that responds to every request with one body, and a client of it.
struct LocalEngine {
    body: Arc<Mutex<Vec<u8>>>,
    aws: Aws,
}

impl LocalEngine {
    async fn start() -> Self {
        let body = Arc::new(Mutex::new(Vec::new()));
        let served = body.clone();
        let respond = move || {
            let body = served.lock().expect("the body").clone();
            async move { ([(CONTENT_TYPE, "application/x-amz-json-1.0")], body) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = axum::serve(listener, Router::new().fallback(respond));
        tokio::spawn(async move { server.await.expect("a server") });
        Self { body, aws: Aws::local(&url).await }
    }

    /// Responds with `body` to both readers, and returns their results. `None` is an error.
    async fn pages<T>(&self, body: &[u8], convert: Convert<T>) -> [Option<QueryPage<T>>; 2] {
        *self.body.lock().expect("the body") = body.to_vec();
        let request = || self.aws.dynamodb.query().table_name("messages");
        [send(request(), convert).await.ok(), send_with_sdk(request(), convert).await]
    }

    /// Checks that both readers return the same page, with every conversion, and returns whether it is a page.
    async fn agree(&self, body: &[u8]) -> bool {
        let shown = String::from_utf8_lossy(body);
        let [ours, sdk] = self.pages(body, items::to_message).await;
        assert_eq!(ours, sdk, "{shown}");
        let [ours, sdk] = self.pages(body, items::to_group_row).await;
        assert_eq!(ours, sdk, "{shown}");
        let [ours, sdk] = self.pages(body, projected).await;
        assert_eq!(ours, sdk, "{shown}");
        ours.is_some()
    }
}

/// The reference: the same function as [`send`], with the SDK's decoding.
async fn send_with_sdk<T>(request: QueryFluentBuilder, convert: Convert<T>) -> Option<QueryPage<T>> {
    let once = Config::builder().retry_config(RetryConfig::disabled());
    let output = request.customize().config_override(once).send().await.ok()?;
    Some(QueryPage {
        items: output.items().iter().map(|item| convert(item)).collect(),
        next_key: output.last_evaluated_key,
        units: output.consumed_capacity.and_then(|capacity| capacity.capacity_units).unwrap_or_default(),
    })
}

/// Returns, for each projected attribute, `None` if it is missing, its text if it is a string or a number, and `Some(None)` if
/// it has another type.
fn projected(item: &dyn Attributes) -> Result<Vec<Option<Option<String>>>, ItemError> {
    let owned = |attribute| match attribute {
        Attribute::Text(text) | Attribute::Number(text) => Some(str::to_owned(text)),
        Attribute::Other => None,
    };
    Ok(PROJECTION.iter().map(|name| item.attribute(name).map(owned)).collect())
}

/// An item as DynamoDB sends it.
fn encode(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), encode_value(value))).collect())
}

fn encode_value(value: &AttributeValue) -> Value {
    let base64 = |blob: &Blob| STANDARD.encode(blob);
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::B(blob) => json!({ "B": base64(blob) }),
        AttributeValue::Bool(value) => json!({ "BOOL": value }),
        AttributeValue::Null(value) => json!({ "NULL": value }),
        AttributeValue::M(map) => json!({ "M": encode(map) }),
        AttributeValue::L(values) => json!({ "L": values.iter().map(encode_value).collect::<Vec<_>>() }),
        AttributeValue::Ss(texts) => json!({ "SS": texts }),
        AttributeValue::Ns(numbers) => json!({ "NS": numbers }),
        AttributeValue::Bs(blobs) => json!({ "BS": blobs.iter().map(base64).collect::<Vec<_>>() }),
        other => panic!("no encoding for {other:?}"),
    }
}

fn page(items: &[Item]) -> Vec<u8> {
    let items: Vec<Value> = items.iter().map(encode).collect();
    let body = json!({
        "Items": items,
        "Count": items.len(),
        "ScannedCount": items.len(),
        "ConsumedCapacity": { "TableName": "messages", "CapacityUnits": 1.5 },
        "LastEvaluatedKey": { "pk": { "S": "MSG#\u{1f600}" }, "sk": { "S": "\"quoted\"\n" } },
    });
    body.to_string().into_bytes()
}

fn participant(number: u128) -> Participant {
    let names = NameCopy { handle: format!("user{number}"), display_name: format!("\"User\" \\ {number} \u{1f600}") };
    Participant { uuid: UserUuid(Uuid::from_u128(number)), names: Arc::new(names) }
}

fn message(sort_key: SortKey) -> Message {
    let created_at = sort_key.created_at().expect("an instant");
    let (uuid, group) = (MessageUuid(Uuid::from_u128(9)), MessageGroupUuid(Uuid::from_u128(8)));
    Message { uuid, group, author: participant(1), body: "two\nlines \u{e9} \u{0}".into(), created_at, sort_key }
}

fn row(author: Option<UserUuid>, sort_key: SortKey) -> GroupRow {
    let Message { group, body, .. } = message(sort_key.clone());
    let reading = author.map(|_| Reading { received: 3, read: 1, marker: Some(sort_key.clone()), counted_to: None });
    let fed = Fed::read("shard=1").expect("a position");
    GroupRow { owner: participant(2).uuid, group, other: participant(1), body, author, sort_key, fed, reading }
}

fn sort_keys() -> [SortKey; 2] {
    let created_at = "2026-11-22T10:42:39.123456Z".parse().expect("an instant");
    let legacy = SortKey::read("2022-05-04 10:42:39.123456+05:30").expect("a legacy sort key");
    [SortKey::of_message(created_at, MessageUuid(Uuid::from_u128(9))), legacy]
}

fn every_type() -> Vec<AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    vec![
        text(""),
        text("text \u{1f600} \"quoted\" \\ \u{7f}\n"),
        AttributeValue::N("-1.5E+100".to_owned()),
        AttributeValue::B(Blob::new([0, 255])),
        AttributeValue::Bool(false),
        AttributeValue::Null(true),
        AttributeValue::M(Item::from([("S".to_owned(), text("nested"))])),
        AttributeValue::L(vec![text("nested"), AttributeValue::L(Vec::new())]),
        AttributeValue::Ss(vec!["a".to_owned(), "b".to_owned()]),
        AttributeValue::Ns(vec!["1".to_owned()]),
        AttributeValue::Bs(vec![Blob::new([1])]),
    ]
}

#[tokio::test]
async fn every_kind_of_item_is_decoded_as_by_the_sdk() {
    let engine = LocalEngine::start().await;
    let [sort_key, legacy_key] = sort_keys();
    let author = Some(participant(1).uuid);
    let participants = [participant(1), participant(2)];
    let group = MessageGroupUuid(Uuid::from_u128(8));
    // The index projects all attributes, so an item of the index looks like the row in the table.
    let rows = [row(author, sort_key.clone()), row(author, legacy_key.clone()), row(None, legacy_key.clone())];
    let memberships =
        [false, true].map(|is_legacy| Membership { group, participants: participants.clone(), is_legacy, version: 3 });
    let mut all: Vec<Item> = [sort_key, legacy_key].map(message).iter().map(items::from_message).collect();
    all.extend(rows.iter().map(items::from_group_row));
    all.push(items::from_pair(&participants, group));
    all.extend(memberships.iter().map(items::from_membership));
    for item in &all {
        assert!(engine.agree(&page(std::slice::from_ref(item))).await);
    }
    assert!(engine.agree(&page(&all)).await);
}

#[tokio::test]
async fn every_attribute_type_is_decoded_as_by_the_sdk() {
    let engine = LocalEngine::start().await;
    let whole = items::from_message(&message(sort_keys()[0].clone()));
    for value in every_type() {
        let mut all = Vec::new();
        for name in PROJECTION.into_iter().chain(["other"]) {
            let mut item = whole.clone();
            item.insert(name.to_owned(), value.clone());
            all.push(item);
        }
        assert!(engine.agree(&page(&all)).await, "{value:?}");
    }
}

#[tokio::test]
async fn unusual_and_malformed_responses_are_decoded_as_by_the_sdk() {
    let engine = LocalEngine::start().await;
    for body in [
        "{}",
        r#" { "Items" : [ ] , "Count" : 0 } "#,
        r#"{"Items":null,"LastEvaluatedKey":null,"ConsumedCapacity":null}"#,
        r#"{"Items":[{}],"Unknown":{"deep":[1,{"x":null}]},"ConsumedCapacity":{}}"#,
        r#"{"Items":[{"pk":{"N":null,"S":"a"},"sk":{"__type":"x","S":"b"}}]}"#,
        r#"{"Items":[{"pk":{"S":"first"},"pk":{"S":"last"}}]}"#,
        r#"{"Items":[{"pk":{"S":"\u00e9 \ud83d\ude00 \/ \u0000"},"\u0073k":{"\u0053":"escaped names"}}]}"#,
        r#"{"Items":[{"pk":{"NEW":{"a":1}}}]}"#,
    ] {
        assert!(engine.agree(body.as_bytes()).await, "{body}");
    }
    for body in [
        &b"<html>"[..],
        b"null",
        b"[]",
        b"{} {}",
        b"{\"Items\":[{\"pk\":{\"S\":\"a\"}}",
        b"{\"Items\":7}",
        b"{\"Items\":[7]}",
        b"{\"Items\":[null]}",
        b"{\"Items\":[{\"pk\":null}]}",
        b"{\"Items\":[{\"pk\":\"a\"}]}",
        b"{\"Items\":[{\"pk\":{}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":7}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":null}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":\"a\",\"N\":\"1\"}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":\"\\ud83d\"}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":\"\xff\"}}]}",
        b"{\"Items\":[{\"pk\":{\"S\":\"raw \n control\"}}]}",
        b"{\"Items\":[],\"LastEvaluatedKey\":{\"pk\":\"a\"}}",
        b"{\"Items\":[],\"ConsumedCapacity\":7}",
    ] {
        assert!(!engine.agree(body).await, "{}", String::from_utf8_lossy(body));
    }
}

/// The intended differences. Each is about a response that DynamoDB never sends.
#[tokio::test]
async fn the_differences_from_the_sdk_are_these() {
    let engine = LocalEngine::start().await;
    for (body, accepted) in [
        // The SDK accepts an empty body as an empty page. A list must not become empty because a body was lost.
        ("", [false, true]),
        // All keys of the table are strings.
        (r#"{"LastEvaluatedKey":{"sk":{"N":"1"}}}"#, [false, true]),
        // Values that no conversion reads are not validated.
        (r#"{"Items":[{"message":{"BOOL":7}}]}"#, [true, false]),
        (r#"{"Items":[{"other":7}]}"#, [true, false]),
    ] {
        let pages = engine.pages(body.as_bytes(), projected).await;
        assert_eq!(pages.map(|page| page.is_some()), accepted, "{body}");
    }
}

#[test]
fn a_text_without_escapes_is_not_copied() {
    let body = page(&[items::from_message(&message(sort_keys()[0].clone()))]);
    let borrowed = |item: &dyn Attributes| match item.attribute(items::USER_UUID) {
        Some(Attribute::Text(text)) => Ok(text.as_ptr() as usize),
        other => panic!("a uuid, not {other:?}"),
    };
    let page = decode(&body, borrowed).expect("a page");
    let [Ok(text)] = page.items[..] else { panic!("one item") };
    assert!(body.as_ptr_range().contains(&(text as *const u8)));
}
