//! Drives `serve` with well-behaved clients alone and beside clients that attack it, and compares. All of them run on this
//! machine, so the attacks have rates that leave it enough CPU time: not the machine is tested but the server. The embedded
//! engine becomes slower with each message, so the last minute of the attacks is compared with the minute after them.

mod attackers;
mod clients;

use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::task::JoinSet;

use self::attackers::{ATTACKS, Target};
use super::{Caller, Engines, cpu_time, free_port, interrupt, resident, token, until_ready};

/// Number of conversations of the user who attacks.
pub const GROUPS: usize = 60;
/// Maximum resident memory of the server, in MB.
const MAX_RESIDENT: f64 = 150.0;
/// Maximum ratio of the 99th percentiles with and without attacks.
const MAX_RATIO: f64 = 2.0;
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the well-behaved clients are alone: a tenth of the time of the attacks, within these bounds.
const SHORTEST_ALONE: Duration = Duration::from_secs(10);
const LONGEST_ALONE: Duration = Duration::from_secs(60);
/// How often the memory is measured.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server may take to close what the attacks have opened, with its idle connections to the stores.
const SETTLE_TIME: Duration = Duration::from_secs(200);
/// Number of long messages in one conversation, and their length: the maximum.
const LONG_MESSAGES: usize = 100;
const LONGEST: usize = 1024;

/// An attack: clients who act for as long as it lasts.
pub struct Attack {
    name: &'static str,
    clients: usize,
    /// How often each client acts at most.
    interval: Duration,
    /// What a client does, and how that is called in the output.
    act: for<'a> fn(&'a Target) -> BoxFuture<'a, anyhow::Result<()>>,
    acts: &'static str,
}

/// Runs all attacks, or those that are named. Fails if a figure is missed.
pub async fn run(production: &Path, how_long: Duration, names: &[String]) -> anyhow::Result<()> {
    let attacks: Vec<_> =
        ATTACKS.iter().filter(|it| names.is_empty() || names.iter().any(|name| name == it.name)).collect();
    if attacks.len() < names.len() {
        bail!("the attacks are {}", ATTACKS.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", "));
    }
    let engines = Engines::start().await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = engines.serve(production);
    let child = command.env("LISTEN_ADDR", &address).spawn()?;
    let result = measure(&child, &engines, &address, &attacks, how_long).await;
    interrupt(child)?;
    result
}

async fn measure(
    child: &Child,
    engines: &Engines,
    address: &str,
    attacks: &[&'static Attack],
    how_long: Duration,
) -> anyhow::Result<()> {
    let url = format!("http://{address}");
    let http = reqwest::Client::new();
    until_ready(&http, &url).await?;
    let caller = |handle: &str| {
        let caller =
            Caller { http: http.clone(), url: format!("{url}/graphql"), token: token(&engines.issuer, handle)? };
        anyhow::Ok(caller)
    };
    let (ana, esi, dmitri) = (caller("ana")?, caller("esi")?, caller("dmitri")?);
    let group = prepare(&dmitri).await.context("the messages of the attack")?;
    let target = Arc::new(Target::new(address.parse()?, dmitri, group));

    // The first requests fill caches.
    clients::run(&ana, &esi, WARM_UP).await;
    let (before, time_alone) = (cpu_time(child)?, how_long.mul_f64(0.1).clamp(SHORTEST_ALONE, LONGEST_ALONE));
    let alone = clients::run(&ana, &esi, time_alone).await;
    let (cpu, descriptors) = (share(cpu_time(child)? - before, time_alone), open_descriptors(child)?);
    println!("alone: {alone}; {cpu}, {:.1} MB resident, {descriptors} descriptors", resident(child)?);
    println!("attacks, for {} s:", how_long.as_secs());
    let (mut tasks, mut counts) = (JoinSet::new(), Vec::new());
    for attack in attacks {
        let Attack { name, clients, interval, acts, .. } = attack;
        println!(
            "  {name}: {clients} clients, {:.1} {acts} a second at most",
            *clients as f64 / interval.as_secs_f64()
        );
        let count = Arc::new(AtomicU64::new(0));
        counts.push((name, count.clone()));
        for client in 0..*clients {
            tasks.spawn(attack.act_repeatedly(client, target.clone(), count.clone()));
        }
    }
    let peak = async {
        let (begin, mut peak) = (Instant::now(), 0.0_f64);
        while begin.elapsed() < how_long {
            peak = peak.max(resident(child)?);
            tokio::time::sleep(SAMPLE_INTERVAL).await;
        }
        anyhow::Ok(peak)
    };
    let before = cpu_time(child)?;
    let attacked = async {
        let attacked = clients::run(&ana, &esi, how_long.saturating_sub(time_alone)).await;
        (attacked, clients::run(&ana, &esi, time_alone).await)
    };
    let ((attacked, last), peak) = futures::join!(attacked, peak);
    let (peak, cpu, at_the_end) = (peak?, share(cpu_time(child)? - before, how_long), open_descriptors(child)?);
    tasks.shutdown().await;
    for (name, count) in counts {
        println!("  {name}: done {} times", count.load(Ordering::Relaxed));
    }
    println!("attacked: {attacked}; {cpu}, at most {peak:.1} MB resident, {at_the_end} descriptors at the end");
    println!("at the end of the attacks, {} s: {last}", time_alone.as_secs());
    let alone_after = clients::run(&ana, &esi, time_alone).await;
    println!("alone again: {alone_after}");
    let (settled, took) = settle(child, descriptors).await?;
    println!("afterwards: {:.1} MB resident, {settled} descriptors after {} s", resident(child)?, took.as_secs());
    let ratio = last.p99().as_secs_f64() / alone_after.p99().as_secs_f64();
    let error = [alone, attacked, last, alone_after].into_iter().find_map(|answers| answers.error);
    verdict(ratio, error, peak, descriptors, settled)
}

fn verdict(ratio: f64, error: Option<String>, peak: f64, before: usize, after: usize) -> anyhow::Result<()> {
    let mut missed = Vec::new();
    if let Some(error) = error {
        missed.push(format!("well-behaved clients got errors, such as: {error}"));
    }
    if ratio > MAX_RATIO {
        missed.push(format!("the 99th percentile is {ratio:.1} times that without attacks (maximum {MAX_RATIO})"));
    }
    if peak > MAX_RESIDENT {
        missed.push(format!("{peak:.1} MB resident (maximum {MAX_RESIDENT})"));
    }
    if after > before {
        missed.push(format!("{after} descriptors are open, {before} before the attacks"));
    }
    match missed.is_empty() {
        true => println!("all figures are met; the 99th percentile is {ratio:.1} times that without attacks"),
        false => bail!("missed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Sends the messages that make large responses. Returns their conversation.
async fn prepare(caller: &Caller) -> anyhow::Result<String> {
    let send = "mutation ($body: String!) { createMessage(input: { to: { handle: \"chloe\" }, body: $body }) { messageGroup { uuid } } }";
    let mut group = String::new();
    for _ in 0..LONG_MESSAGES {
        let sent = caller.ask(send, json!({ "body": "\u{1F600}".repeat(LONGEST) })).await?;
        group = sent["createMessage"]["messageGroup"]["uuid"].as_str().context("a uuid")?.to_owned();
    }
    Ok(group)
}

fn share(cpu: Duration, of: Duration) -> String {
    format!("{:.0} % of a core", 100.0 * cpu.as_secs_f64() / of.as_secs_f64())
}

/// Number of open descriptors. Source: proc(5), `/proc/pid/fd`.
fn open_descriptors(child: &Child) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", child.id()))?.count())
}

/// Waits until at most `before` descriptors are open. Returns their number, and how long it took.
async fn settle(child: &Child, before: usize) -> anyhow::Result<(usize, Duration)> {
    let begin = Instant::now();
    loop {
        let open = open_descriptors(child)?;
        if open <= before || begin.elapsed() > SETTLE_TIME {
            return Ok((open, begin.elapsed()));
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}

impl Attack {
    /// Acts until the task is aborted.
    async fn act_repeatedly(&'static self, client: usize, target: Arc<Target>, count: Arc<AtomicU64>) {
        tokio::time::sleep(self.interval.mul_f64(client as f64 / self.clients as f64)).await;
        loop {
            let next = tokio::time::Instant::now() + self.interval;
            // The server may well end it with an error.
            let _ = (self.act)(&target).await;
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep_until(next).await;
        }
    }
}
