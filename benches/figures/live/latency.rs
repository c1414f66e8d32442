//! Time from the answer of `createMessage` to the arrival of the event, with sockets in the process that sends and consumes, and
//! with sockets in another process. Then the time of the delivery alone: from the hint about a new feed entry to the event.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::crowd::{Crowd, Received};
use super::feeder::Feeder;
use super::sender::{Sent, send};
use super::world::{PEOPLE, Server, World};
use super::{DEADLINE, median_and, sockets_of_each, summary};

const SOCKETS: usize = 1_000;
/// Rounds, each with a new engine, and their lengths.
const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
/// The same for the delivery alone.
const SECONDS_OF_DELIVERY: u32 = 20;
const FEED_INTERVAL: Duration = Duration::from_millis(50);
/// Messages that are sent before the measurement.
const WARM_UP: u32 = 20;
const GOAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));

/// Number of messages a second: `FIGURES_MESSAGES_PER_SECOND`, or 200. If the machine has no CPU time left, a lower rate shows
/// the latency without it.
fn per_second() -> u32 {
    std::env::var("FIGURES_MESSAGES_PER_SECOND").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// What a round has measured.
#[derive(Default)]
struct Measured {
    /// From the answer to the event.
    times: Vec<Duration>,
    /// From the time at which the message was due to the answer.
    answers: Vec<Duration>,
    events: usize,
    /// From the first message that was due to the last event.
    time: Duration,
    /// CPU time of the process with the sockets, of the process that sends and consumes, and of this process.
    sockets: Duration,
    sender: Duration,
    own: Duration,
}

/// Where the sockets are, and where the messages come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setup {
    SameProcess,
    AnotherProcess,
    /// In a process without a consumer, and messages are written directly to the feeds.
    DeliveryAlone,
}

pub async fn run(world: &World) -> anyhow::Result<Vec<String>> {
    let mut missed = Vec::new();
    for (setup, rounds, name) in [
        (Setup::SameProcess, ROUNDS, "answer of createMessage to event, same process"),
        (Setup::AnotherProcess, ROUNDS, "answer of createMessage to event, another process"),
        (Setup::DeliveryAlone, 1, "hint to event (delivery alone)"),
    ] {
        let mut all = Measured::default();
        for _ in 0..rounds {
            all.add(round(world, setup).await?);
        }
        all.print(name, setup);
        let (median, p99) = median_and(&mut all.times, 0.99);
        if median > GOAL.0 || p99 > GOAL.1 {
            missed.push(format!("{name}: median {median:.0?}, p99 {p99:.0?}"));
        }
    }
    Ok(missed)
}

async fn round(world: &World, setup: Setup) -> anyhow::Result<Measured> {
    let stores = world.stores().await?;
    let arguments: &[&str] = if setup == Setup::DeliveryAlone { &["--no-worker"] } else { &[] };
    let sender = world.serve(&stores, arguments).await?;
    let other = match setup {
        Setup::AnotherProcess => Some(world.serve(&stores, &["--no-worker"]).await?),
        Setup::SameProcess | Setup::DeliveryAlone => None,
    };
    let server = other.as_ref().unwrap_or(&sender);
    let each = sockets_of_each(SOCKETS);
    let crowd = Crowd::open(server.address, world.clients(each));
    crowd.until_ready(DEADLINE).await?;
    // Both participants of a conversation receive each message.
    let of_message = 2 * each;
    let mut feeder = Feeder::new(world, &stores);
    let mut send = async |numbers: Range<u32>| match setup {
        Setup::DeliveryAlone => feed(&mut feeder, numbers).await,
        _ => send(&stores.conversations, sender.address, numbers, f64::from(per_second())).await,
    };
    send(0..WARM_UP).await?;
    crowd.until_received(WARM_UP as usize * of_message, DEADLINE).await?;
    sleep(Duration::from_secs(1)).await;
    crowd.take();

    let cpu = || anyhow::Ok((server.cpu_time()?, sender.cpu_time()?, own_cpu_time()?));
    let (before, begin) = (cpu()?, Instant::now());
    let seconds = if setup == Setup::DeliveryAlone { SECONDS_OF_DELIVERY } else { SECONDS };
    let sent = send(WARM_UP..WARM_UP + per_second() * seconds).await?;
    let events = sent.len() * of_message;
    crowd.until_received(events, DEADLINE).await?;
    let (time, after) = (begin.elapsed(), cpu()?);
    // Events that arrive twice would arrive now.
    sleep(Duration::from_millis(300)).await;
    let received = crowd.take();
    crowd.close().await?;
    let times = times(&sent, &received, of_message)?;
    [Some(sender), other].into_iter().flatten().try_for_each(Server::stop)?;
    let answers = sent.iter().map(|sent| sent.took).collect();
    let (sockets, sender, own) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    Ok(Measured { times, answers, events, time, sockets, sender, own })
}

/// Writes messages to the feeds of both participants, at the usual rate.
async fn feed(feeder: &mut Feeder<'_>, numbers: Range<u32>) -> anyhow::Result<Vec<Sent>> {
    let mut ticks = interval(FEED_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::new();
    let count = (f64::from(per_second()) * FEED_INTERVAL.as_secs_f64()) as usize;
    for part in numbers.collect::<Vec<_>>().chunks(count) {
        ticks.tick().await;
        let pair = |number: u32| number as usize % (PEOPLE / 2);
        let entries = part.iter().flat_map(|number| [0, 1].map(|one| (2 * pair(*number) + one, *number)));
        sent.extend(feeder.feed(entries, 80).await?);
    }
    Ok(sent)
}

/// The times from the answers to the events. An event can arrive before the answer. Fails if an event is missing, or arrives
/// twice.
pub fn times(sent: &[Sent], received: &[Received], of_message: usize) -> anyhow::Result<Vec<Duration>> {
    ensure!(received.len() == sent.len() * of_message, "{} events of {}", received.len(), sent.len() * of_message);
    let mut seen = HashSet::new();
    let answered: HashMap<u32, Instant> = sent.iter().map(|sent| (sent.number, sent.answered)).collect();
    let mut times = Vec::with_capacity(received.len());
    for Received { client, number, at } in received {
        ensure!(seen.insert((client, number)), "client {client} received message {number} twice");
        let answered = answered.get(number).context("a message that was not sent")?;
        times.push(at.saturating_duration_since(*answered));
    }
    Ok(times)
}

/// CPU time of this process.
fn own_cpu_time() -> anyhow::Result<Duration> {
    super::super::cpu_time_of(std::process::id())
}

impl Measured {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.answers.extend(other.answers);
        self.events += other.events;
        self.time += other.time;
        self.sockets += other.sockets;
        self.sender += other.sender;
        self.own += other.own;
    }

    fn print(&mut self, name: &str, setup: Setup) {
        let Self { events, time, sockets, sender, own, .. } = *self;
        let seconds = time.as_secs_f64();
        println!(
            "  {name}: {} of {events} events, {} sockets of {PEOPLE} users, \
             {} messages a second",
            summary(&mut self.times),
            PEOPLE * sockets_of_each(SOCKETS),
            per_second()
        );
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events as f64;
        let content = if setup == Setup::SameProcess { "with requests and the consumer" } else { "delivery only" };
        println!(
            "    {:.0} events delivered a second; CPU time of the process for each: {:.0} µs ({content})",
            events as f64 / seconds,
            each(sockets)
        );
        let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / seconds;
        let (sockets, own) = (share(sockets), share(own));
        println!("    CPU time: sockets {sockets:.0} %, engine and clients {own:.0} % of a core");
        if setup != Setup::DeliveryAlone {
            let sender = share(sender);
            println!("    createMessage: {}; CPU time: sender and consumer {sender:.0} %", summary(&mut self.answers));
        }
    }
}
