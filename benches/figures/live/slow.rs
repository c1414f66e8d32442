//! Clients that stop reading while many messages are sent to them. The messages are written directly to the feeds: through
//! `createMessage`, the engine would decide how long everything takes. Without slow clients, the same messages are written to
//! the feed of a user who is not connected.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::crowd::{Client, Crowd};
use super::feeder::Feeder;
use super::latency::times;
use super::socket::{Protocol, Socket};
use super::world::{PEOPLE, Server, World};
use super::{DEADLINE, median_and, summary};

const SLOW: usize = 10;
/// The user with the slow clients: the last one.
const SLOW_PERSON: usize = PEOPLE - 1;
/// Messages for this user, written in rounds, and their length.
const MESSAGES: u32 = 10_000;
const ROUNDS: u32 = 200;
const LENGTH: usize = 1_000;
const INTERVAL: Duration = Duration::from_millis(100);
/// The receive buffer of a slow client in bytes. What the operating systems hold is not memory of the server.
const RECEIVE_BUFFER: u32 = 4_096;
/// Clients of each other user, and the number of messages for these users in a round.
const OTHERS: usize = 2;
const OF_OTHERS: u32 = 10;
/// Maximum growth of the memory in bytes.
const GOAL: f64 = 5e6;
/// Maximum ratio of the 99th percentiles of others with and without slow clients, and the difference that is noise.
const MAX_RATIO: f64 = 1.5;
const NOISE: Duration = Duration::from_millis(20);
/// After this time, the server has closed the connections of the slow clients.
const PATIENCE: Duration = Duration::from_secs(40);

pub async fn run(world: &World) -> anyhow::Result<Vec<String>> {
    let stores = world.stores().await?;
    let server = world.serve(&stores, &["--no-worker"]).await?;
    let others = world.clients(OTHERS).into_iter().filter(|client| client.person != SLOW_PERSON);
    let crowd = Crowd::open(server.address, others);
    crowd.until_ready(DEADLINE).await?;
    let mut feeder = Feeder::new(world, &stores);
    write(&mut feeder, &crowd).await?;
    let without = write(&mut feeder, &crowd).await?;
    println!("  others, without slow clients: {}", without.1);

    let client = |number| world.client(SLOW_PERSON, Protocol::of(number));
    let mut slow = Vec::new();
    for Client { protocol, token, .. } in (0..SLOW).map(client) {
        let mut socket = Socket::open(protocol, server.address, &token, None, Some(RECEIVE_BUFFER)).await?;
        socket.until_ready().await?;
        slow.push(socket);
    }
    sleep(Duration::from_secs(1)).await;
    let before = server.memory()?.resident;
    let (with, peak) = tokio::join!(write(&mut feeder, &crowd), peak(&server, INTERVAL * ROUNDS));
    let (with, peak) = (with?, peak?);
    println!("  others, beside {SLOW} slow clients: {}", with.1);
    let unread = server.memory()?.resident;
    let peak = peak.max(self::peak(&server, PATIENCE).await?);
    let after = server.memory()?.resident;
    // What the operating systems hold arrives, and then the end of the connection.
    let mut delivered = 0;
    for socket in &mut slow {
        let mut received = 0;
        while let Ok(Some(_)) = timeout(PATIENCE, socket.next()).await.context("a slow client is still connected")? {
            received += 1;
        }
        ensure!(received < MESSAGES, "a slow client has received everything");
        delivered = delivered.max(received);
    }
    crowd.close().await?;
    server.stop()?;

    println!(
        "  {SLOW} clients that read nothing of {MESSAGES} messages of {LENGTH} characters in {} s: resident {:.1} MB before, \
         {:.1} MB after the messages, at most {:.1} MB, {:.1} MB after their connections are closed; at most {delivered} messages were in the buffers of a connection",
        (INTERVAL * ROUNDS).as_secs(),
        before / 1e6,
        unread / 1e6,
        peak / 1e6,
        after / 1e6
    );
    let mut missed = Vec::new();
    let growth = peak - before;
    if growth > GOAL {
        missed.push(format!("the memory grew by {:.1} MB with slow clients", growth / 1e6));
    }
    if with.0 > without.0.mul_f64(MAX_RATIO) + NOISE {
        missed.push(format!("the p99 of others is {:.0?} beside slow clients, {:.0?} without", with.0, without.0));
    }
    Ok(missed)
}

/// Writes messages to the other users, and to the one with the slow clients. Returns the 99th percentile of the times from the
/// hints to the events of others, and a text.
async fn write(feeder: &mut Feeder<'_>, crowd: &Crowd) -> anyhow::Result<(Duration, String)> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        ticks.tick().await;
        let numbers = round * OF_OTHERS..(round + 1) * OF_OTHERS;
        let of_others = numbers.map(|number| (number as usize % SLOW_PERSON, number));
        sent.extend(feeder.feed(of_others, 80).await?);
        let each = MESSAGES / ROUNDS;
        feeder.feed((round * each..(round + 1) * each).map(|number| (SLOW_PERSON, number)), LENGTH).await?;
    }
    crowd.until_received(sent.len() * OTHERS, DEADLINE).await?;
    let mut times = times(&sent, &crowd.take(), OTHERS)?;
    let (_, p99) = median_and(&mut times, 0.99);
    Ok((p99, summary(&mut times)))
}

/// The highest resident memory for a while.
async fn peak(server: &Server, how_long: Duration) -> anyhow::Result<f64> {
    let (begin, mut peak) = (Instant::now(), 0.0_f64);
    while begin.elapsed() < how_long {
        peak = peak.max(server.memory()?.resident);
        sleep(INTERVAL).await;
    }
    Ok(peak)
}
