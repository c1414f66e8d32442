//! Clients that stop reading while many messages are sent to them.
//!
//! Their messages are imported as feed entries, and `NOTIFY` tells the server about them, as the consumer of another process
//! would: through `createMessage`, only the engine would be measured. The messages of the other clients are sent with
//! `createMessage`.

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use cruddur_messaging::live::postgres::CHANNEL;
use cruddur_messaging::messages_table::feed::{FedMessage, FedMessages, FeedContent, FeedEntry};
use cruddur_messaging::messages_table::feed_items::from_feed_entry;
use cruddur_messaging::messages_table::{Reading, SortKey};
use cruddur_messaging::model::MessageUuid;
use serde_json::json;
use tokio::time::{interval, sleep};
use uuid::Uuid;

use super::super::TABLE;
use super::crowd::{Client, Crowd};
use super::latency::times;
use super::sender::send;
use super::socket::{Protocol, Socket, body};
use super::world::{PEOPLE, Server, Stores, World};
use super::{DEADLINE, median_and, summary};

const SLOW: usize = 10;
const MESSAGES: u64 = 10_000;
/// Length of each of them.
const LENGTH: usize = 1_000;
/// Number of entries that are written at the same time, and how often.
const BATCH: u64 = 50;
const INTERVAL: Duration = Duration::from_millis(100);
/// The receive buffer of a slow client in bytes. What the operating systems hold is not memory of the server.
const RECEIVE_BUFFER: u32 = 4_096;
/// Clients of each other user, and how many messages these users send.
const OTHERS: usize = 2;
const PER_SECOND: u32 = 20;
const SECONDS: u32 = 20;
/// Maximum growth of the memory in bytes.
const GOAL: f64 = 5e6;
/// Maximum delay of others: a ratio of 99th percentiles.
const MAX_RATIO: f64 = 1.5;
/// After this time, the server has closed the connections of the slow clients.
const PATIENCE: Duration = Duration::from_secs(40);

pub async fn run(world: &World) -> anyhow::Result<Vec<String>> {
    let stores = world.stores().await?;
    let server = world.serve(&stores, &[]).await?;
    // The last two users are the slow one and its partner, who sends the messages.
    let others = world.clients(OTHERS).into_iter().filter(|client| client.person < PEOPLE - 2);
    let crowd = Crowd::open(server.address, others);
    crowd.until_ready(DEADLINE).await?;
    let mut next = 0;
    others_p99(&stores, &server, &crowd, &mut next).await?;
    let without = others_p99(&stores, &server, &crowd, &mut next).await?;
    println!("  others, without slow clients: {}", without.1);

    let client = |number| world.client(PEOPLE - 1, Protocol::of(number));
    let mut slow = Vec::new();
    for Client { protocol, token, .. } in (0..SLOW).map(client) {
        let mut socket = Socket::open(protocol, server.address, &token, None, Some(RECEIVE_BUFFER)).await?;
        socket.until_ready().await?;
        slow.push(socket);
    }
    sleep(Duration::from_secs(1)).await;
    let before = server.memory()?;
    let begin = Instant::now();
    let (with, written, peak) = tokio::join!(
        others_p99(&stores, &server, &crowd, &mut next),
        write(world, &stores),
        peak(&server, begin, Duration::from_secs(SECONDS.into()))
    );
    let ((with, text), written, mut peak) = (with?, written?, peak?);
    println!("  others, beside {SLOW} slow clients: {text}");
    let unread = server.memory()?;
    peak = peak.max(peak_of(&server, PATIENCE).await?);
    let after = server.memory()?;
    let again = others_p99(&stores, &server, &crowd, &mut next).await?;
    println!("  others, after that: {}", again.1);
    drop(slow);
    crowd.close().await?;
    server.stop()?;

    let growth = peak - before.resident;
    println!(
        "  {SLOW} clients that read nothing of {MESSAGES} messages of {LENGTH} characters, written in {:.1} s: resident \
         {:.1} MB before, {:.1} MB at the end of the messages, at most {:.1} MB, {:.1} MB after their connections are closed",
        written.as_secs_f64(),
        before.resident / 1e6,
        unread.resident / 1e6,
        peak / 1e6,
        after.resident / 1e6
    );
    let mut missed = Vec::new();
    if growth > GOAL {
        missed.push(format!("the memory grew by {:.1} MB with slow clients", growth / 1e6));
    }
    // The engine becomes slower with each message, so the rounds before and after are the measure.
    let without = without.0.max(again.0);
    if with.as_secs_f64() > without.as_secs_f64() * MAX_RATIO {
        missed.push(format!("the p99 of others is {with:.0?} beside slow clients, {without:.0?} without"));
    }
    Ok(missed)
}

/// Sends messages to the other users, and returns the 99th percentile of their times to the event, and a text.
async fn others_p99(
    stores: &Stores,
    server: &Server,
    crowd: &Crowd,
    next: &mut u32,
) -> anyhow::Result<(Duration, String)> {
    // The last conversation is that of the slow client.
    let cycle = stores.conversations.groups.len() as u32;
    let count = PER_SECOND * SECONDS;
    let numbers = (*next..).filter(|number| number % cycle != cycle - 1).take(count as usize).collect::<Vec<_>>();
    let end = numbers.last().context("no message")? + 1;
    let sent = send(&stores.conversations, server.address, numbers, f64::from(PER_SECOND)).await?;
    *next = end;
    crowd.until_received(sent.len() * 2 * OTHERS, DEADLINE).await?;
    let mut times = times(&sent, &crowd.take(), 2 * OTHERS)?;
    let (_, p99) = median_and(&mut times, 0.99);
    Ok((p99, summary(&mut times)))
}

/// Writes the messages of the slow clients to their feed, with hints. Returns how long that took.
async fn write(world: &World, stores: &Stores) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let people = &stores.conversations.people;
    let (owner, other) = (people[PEOPLE - 1].participant.uuid, people[PEOPLE - 2].participant.clone());
    let group = *stores.conversations.groups.last().context("a conversation")?;
    let entry = |position: u64| {
        let uuid = MessageUuid(Uuid::new_v4());
        let body = body(u32::try_from(position).unwrap_or_default(), LENGTH);
        let message = FedMessage { sort_key: SortKey::of_message(Utc::now(), uuid), uuid, body, is_own: false };
        let reading = Reading { received: position, ..Reading::default() };
        let fed = FedMessages { group, other: other.clone(), messages: vec![message], newer: None, reading };
        let entry = FeedEntry {
            owner,
            position,
            id: Uuid::new_v4().simple().to_string(),
            events: position,
            written_at: Utc::now().timestamp_millis(),
            expires_at: Some(Utc::now().timestamp() + 30 * 24 * 3600),
            content: FeedContent::Messages(fed.into()),
        };
        from_feed_entry(&entry)
    };
    let mut ticks = interval(INTERVAL);
    for first in (1..=MESSAGES).step_by(BATCH as usize) {
        ticks.tick().await;
        let last = (first + BATCH - 1).min(MESSAGES);
        stores.dynamodb.import(TABLE, (first..=last).map(entry))?;
        let hint = json!({ "from": Uuid::nil(), "heads": [[owner.0, last]] }).to_string();
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(hint).execute(world.users.pool()).await?;
    }
    Ok(begin.elapsed())
}

/// The highest resident memory from `begin` on, for a while.
async fn peak(server: &Server, begin: Instant, how_long: Duration) -> anyhow::Result<f64> {
    let mut peak = 0.0_f64;
    while begin.elapsed() < how_long {
        peak = peak.max(server.memory()?.resident);
        sleep(INTERVAL).await;
    }
    Ok(peak)
}

async fn peak_of(server: &Server, how_long: Duration) -> anyhow::Result<f64> {
    peak(server, Instant::now(), how_long).await
}
