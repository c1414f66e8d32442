//! Measures a client that was away for 10,000 events, and the storage of a message.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Instant;

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Utc;
use cruddur_messaging::aws::Aws;
use cruddur_messaging::messages_table::feed::{FedMessage, FedMessages, FeedContent, FeedEntry};
use cruddur_messaging::messages_table::{Applied, MessagesTable, Reading, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, Participant, UserUuid};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Caller, TABLE, cpu_time, units};

/// Number of events that the client has missed: the maximum. Each is an entry of its own, the most expensive case.
const MISSED: u64 = 10_000;
/// Number of entries in a transaction.
const IN_TRANSACTION: usize = 90;
const BODY: &str = "A message of a length that people write to each other on an ordinary day.";
const FEED: &str = "query ($after: String) { feed(first: 100, after: $after) { events { cursor ... on MessageAdded \
                    { message { uuid body } messageGroup { uuid unreadCount } } } endCursor hasNextPage } }";

/// Prints the cost of reading [`MISSED`] events of the caller, who is `owner`.
pub async fn catch_up(
    child: &Child,
    metrics: &str,
    caller: &Caller,
    table: &MessagesTable,
    (owner, other): (UserUuid, &Participant),
) -> anyhow::Result<()> {
    let mut after = end(caller).await?;
    append(table, owner, other).await?;
    let units_before = units(&caller.http, metrics).await?.0;
    let (cpu_before, begin) = (cpu_time(child)?, Instant::now());
    let (mut requests, mut events) = (0_u32, 0);
    loop {
        let page = caller.ask(FEED, json!({ "after": after })).await?["feed"].clone();
        requests += 1;
        events += page["events"].as_array().context("events")?.len();
        after = page["endCursor"].clone();
        if page["hasNextPage"] != true {
            break;
        }
    }
    let (time, cpu) = (begin.elapsed(), cpu_time(child)?.saturating_sub(cpu_before));
    let read_units = units(&caller.http, metrics).await?.0 - units_before;
    ensure!(events as u64 == MISSED, "{events} events");
    println!(
        "catch-up of {events} events: {requests} requests, {read_units} read units, {:.2} s, {:.2} s of CPU time",
        time.as_secs_f64(),
        cpu.as_secs_f64()
    );
    Ok(())
}

/// Returns the cursor at the end of the caller's feed.
pub async fn end(caller: &Caller) -> anyhow::Result<Value> {
    let mut after = Value::Null;
    loop {
        let page = caller.ask(FEED, json!({ "after": after })).await?["feed"].clone();
        after = page["endCursor"].clone();
        if page["hasNextPage"] != true {
            return Ok(after);
        }
    }
}

async fn append(table: &MessagesTable, owner: UserUuid, other: &Participant) -> anyhow::Result<()> {
    let head = table.feed_head(owner).await?;
    let (before, events_before) = head.map_or((0, 0), |head| (head.position, head.events));
    let group = MessageGroupUuid(Uuid::new_v4());
    let entry = |number: u64| {
        let uuid = MessageUuid(Uuid::new_v4());
        let sort_key = SortKey::of_message(Utc::now(), uuid);
        let message = FedMessage { sort_key, uuid, body: BODY.to_owned(), is_own: false };
        let reading = Reading { received: number, ..Reading::default() };
        let fed = FedMessages { group, other: other.clone(), messages: vec![message], newer: None, reading };
        FeedEntry {
            owner,
            position: before + number,
            id: Uuid::new_v4().simple().to_string(),
            events: events_before + number,
            written_at: Utc::now().timestamp_millis(),
            expires_at: Some(Utc::now().timestamp() + 30 * 24 * 3600),
            content: FeedContent::Messages(fed.into()),
        }
    };
    let entries: Vec<FeedEntry> = (1..=MISSED).map(entry).collect();
    for entries in entries.chunks(IN_TRANSACTION) {
        ensure!(table.apply(&[], entries).await? == Applied::Done, "the entries were not written");
    }
    Ok(())
}

/// Prints the average size of the items that a message adds to the table. Rows are replaced, so they do not count.
pub async fn storage(aws: &Aws) -> anyhow::Result<()> {
    let mut sizes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut pages = aws.dynamodb.scan().table_name(TABLE).into_paginator().send();
    while let Some(page) = pages.next().await {
        for item in page?.items() {
            let pk = item.get("pk").and_then(|pk| pk.as_s().ok()).context("a key")?;
            let kind = ["MSG#", "FEED#", "KEY#"].into_iter().find(|prefix| pk.starts_with(prefix));
            let Some(kind) = kind else { continue };
            let size: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
            let (count, bytes) = sizes.entry(kind).or_default();
            (*count, *bytes) = (*count + 1, *bytes + size);
        }
    }
    let average = |kind| sizes.get(kind).map_or(0, |(count, bytes)| bytes / count);
    println!(
        "storage of a message: {} bytes for ever; each of its two feed entries {} bytes, and its idempotency key {} bytes, \
         until they expire",
        average("MSG#"),
        average("FEED#"),
        average("KEY#")
    );
    Ok(())
}

/// Size of a value as DynamoDB counts it, without the overhead of 100 bytes for each item: see "Item sizes and formats" in the
/// developer guide of DynamoDB.
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + size(value)).sum::<usize>(),
        AttributeValue::M(values) => 3 + values.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>(),
        _ => 1,
    }
}
