//! Clients that all lose their connections and connect again, with their last cursors, within half a minute.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use super::crowd::{Client, Crowd};
use super::sender::send;
use super::socket::Protocol;
use super::world::{PEOPLE, World};
use super::{DEADLINE, sockets_of_each};

const SOCKETS: usize = 10_000;
/// Time over which the clients connect again.
const SPREAD: Duration = Duration::from_secs(30);
const PER_SECOND: f64 = 50.0;
/// Messages before the loss, during it, and afterwards: so many for each conversation.
const PARTS: [u32; 3] = [1, 3, 1];

pub async fn run(world: &World) -> anyhow::Result<Vec<String>> {
    let stores = world.stores().await?;
    let sender = world.serve(&stores, &[]).await?;
    // Without the consumer, so that all read units are those of subscriptions.
    let server = world.serve(&stores, &["--no-worker"]).await?;
    let conversations = stores.conversations.groups.len() as u32;
    let [before, missed, later] = PARTS.map(|count| count * conversations);
    let (each, clients) = (sockets_of_each(SOCKETS), PEOPLE * sockets_of_each(SOCKETS));
    let crowd = Crowd::open(server.address, world.clients(each));
    crowd.until_ready(DEADLINE).await?;
    send(&stores.conversations, sender.address, 0..before, PER_SECOND).await?;
    crowd.until_received(before as usize * 2 * each, DEADLINE).await?;
    let cursors = crowd.close().await?;
    send(&stores.conversations, sender.address, before..before + missed, PER_SECOND).await?;
    // The consumer feeds the last ones.
    sleep(Duration::from_secs(2)).await;

    let (units_before, cpu_before) = (server.read_units().await?, server.cpu_time()?);
    let resumed = cursors.into_iter().enumerate().map(|(number, after)| Client {
        after,
        wait: SPREAD.mul_f64(number as f64 / clients as f64),
        // Each user has clients of both protocols, and the clients of a user do not connect one after the other.
        ..world.client(number / each, Protocol::of(number))
    });
    let crowd = Crowd::open(server.address, resumed);
    let took = crowd.until_ready(DEADLINE).await?;
    let (cpu, memory) = (server.cpu_time()?.saturating_sub(cpu_before), server.memory()?);
    let units = server.read_units().await? - units_before;
    send(&stores.conversations, sender.address, before + missed..before + missed + later, PER_SECOND).await?;
    let expected = (missed + later) as usize * 2 * each;
    crowd.until_received(expected, DEADLINE).await?;
    sleep(Duration::from_secs(1)).await;
    let received = crowd.take();
    crowd.close().await?;
    server.stop()?;
    sender.stop()?;

    let mut seen = HashSet::new();
    let mut last = vec![0; clients];
    let mut unordered = 0;
    for one in &received {
        let person = one.client / each;
        ensure!(stores.conversations.is_received_by(one.number, person), "a message of other users");
        ensure!(one.number >= before, "message {} was received before", one.number);
        ensure!(seen.insert((one.client, one.number)), "client {} received {} twice", one.client, one.number);
        let last = last.get_mut(one.client).context("a client")?;
        unordered += usize::from(one.number < *last);
        *last = one.number;
    }
    ensure!(seen.len() == expected, "{} events of {expected}", seen.len());
    ensure!(unordered == 0, "{unordered} events were not in order");
    println!(
        "  {clients} clients resumed in {:.1} s (spread over {} s): {} missed events, nothing lost, twice or out of order",
        took.as_secs_f64(),
        SPREAD.as_secs(),
        missed as usize * 2 * each
    );
    println!(
        "    {units:.0} read units, {:.2} for each client; {:.0} µs of CPU time for each client, {:.1} MB resident",
        units / clients as f64,
        cpu.as_secs_f64() * 1e6 / clients as f64,
        memory.resident / 1e6
    );
    let limit = SPREAD + Duration::from_secs(5);
    let is_late = took > limit;
    Ok(is_late.then(|| format!("{clients} clients resumed in {took:.0?}, not in {limit:.0?}")).into_iter().collect())
}
