//! Sends random requests one after the other, and measures the CPU time of each.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::fuzzer::Fuzzer;
use super::{Engines, cpu_time, free_port, interrupt, token, until_ready};

/// Maximum size of a body; the server accepts it.
const LARGEST: usize = 1_000_000;
/// Maximum CPU time of a rejected request.
const CPU_LIMIT: Duration = Duration::from_millis(50);
/// Number of the most expensive requests that are printed.
const SHOWN: usize = 5;
const SEED: u64 = 1;

/// The CPU time of a request and the start of its text.
type Dearest = Vec<(Duration, String)>;

/// Sends requests for a while. Fails on a status of 500 or more, on a response that is not a GraphQL response, and on a rejected
/// request that took more than 50 ms of CPU time.
pub async fn run(production: &Path, how_long: Duration) -> anyhow::Result<()> {
    let engines = Engines::start().await?;
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = engines.serve(production);
    command.arg("--no-worker").env("LISTEN_ADDR", url.trim_start_matches("http://"));
    command.env("MAX_BODY_BYTES", (2 * LARGEST).to_string()).env("GRAPHQL_INTROSPECTION", "true");
    let child = command.spawn()?;
    let http = reqwest::Client::new();
    until_ready(&http, &url).await?;
    let result = send(&child, &http, &format!("{url}/graphql"), &token(&engines.issuer, "esi")?, how_long).await;
    interrupt(child)?;
    result
}

async fn send(child: &Child, http: &reqwest::Client, url: &str, token: &str, how_long: Duration) -> anyhow::Result<()> {
    let corpus: Value = serde_json::from_str(include_str!("../../tests/validation/documents.json"))?;
    let corpus = corpus.as_array().context("a corpus")?.iter().filter_map(|it| it["query"].as_str().map(str::to_owned));
    let mut fuzzer = Fuzzer::new(SEED, include_str!("../../schema.graphql"), corpus.collect(), LARGEST);
    let begin = Instant::now();
    let (mut sent, mut executed) = (0_u64, 0_u64);
    let mut before_it = String::new();
    let (mut refusals, mut answers) = (Dearest::new(), Dearest::new());
    while begin.elapsed() < how_long {
        let body = fuzzer.body();
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let whole = String::from_utf8_lossy(&body).into_owned();
        let before = cpu_time(child)?;
        let request = http.post(url).bearer_auth(token).header("content-type", "application/json").body(body);
        let answer = request.header("accept", "application/graphql-response+json").send().await;
        let answer = answer.with_context(|| format!("no response to {shown}"))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let cost = cpu_time(child)?.saturating_sub(before);
        let json: Value = serde_json::from_str(&text).with_context(|| format!("{status} {text}: {shown}"))?;
        let is_executed = json.get("data").is_some();
        let is_answer = is_executed || json.get("errors").is_some();
        // All stores are available, so no response may be UNAVAILABLE.
        if status >= 500 || !is_answer || text.contains("\"INTERNAL\"") || text.contains("\"UNAVAILABLE\"") {
            bail!("{status} {text}: {shown}\nand before: {before_it}");
        }
        before_it = whole;
        sent += 1;
        executed += u64::from(is_executed);
        let dearest = if is_executed { &mut answers } else { &mut refusals };
        dearest.push((cost, shown));
        dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        dearest.truncate(SHOWN);
    }
    println!("fuzz: {sent} requests in {:.0} s, {executed} of them executed; no 500", begin.elapsed().as_secs_f64());
    for (what, dearest) in [("refused", &refusals), ("executed", &answers)] {
        println!("the most expensive requests that were {what}:");
        for (cost, shown) in dearest {
            let shown: String = shown.chars().take(100).collect();
            println!("  {:.1} ms of CPU time: {}", cost.as_secs_f64() * 1e3, shown.escape_debug());
        }
    }
    match refusals.first() {
        Some((cost, shown)) if *cost > CPU_LIMIT => bail!("{cost:?} of CPU time before it was refused: {shown}"),
        _ => Ok(()),
    }
}
