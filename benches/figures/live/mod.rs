//! Measures the live updates of the production binary: memory of idle sockets, latency, clients that all connect again, slow
//! clients, and a server with `graphql-ws` on Node for comparison. `scripts/live` runs it.
//!
//! The clients and the embedded DynamoDB are in this process and need CPU time of the same machine. Each part, and each round
//! of a part, has a new engine. The time from `createMessage` to the event is mostly that of the engine, which runs one call at
//! a time, so the output also has the time of the delivery alone, for which messages are written directly to feeds (`feeder`).

mod crowd;
mod feeder;
mod idle;
mod latency;
mod node;
mod sender;
mod slow;
mod socket;
mod storm;
mod world;

use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use self::world::World;
use super::median_and;

const PARTS: [&str; 5] = ["idle", "latency", "storm", "slow", "node"];
/// Longest time for connecting a crowd and for the arrival of messages. Only detects a hang.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs all parts, or those that are named. Fails if a figure misses its goal.
pub async fn run(production: &Path, names: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| !PARTS.contains(&name.as_str())) {
        bail!("there is no part {unknown}: the parts are {}", PARTS.join(", "));
    }
    let world = World::new(production).await?;
    let mut missed = Vec::new();
    for part in PARTS {
        if !names.is_empty() && names.iter().all(|name| name != part) {
            continue;
        }
        println!("{part}:");
        missed.extend(match part {
            "idle" => idle::run(&world).await?,
            "latency" => latency::run(&world).await?,
            "storm" => storm::run(&world).await?,
            "slow" => slow::run(&world).await?,
            _ => {
                node::run(&world).await?;
                Vec::new()
            }
        });
    }
    match missed.is_empty() {
        true => println!("all goals are met"),
        false => bail!("missed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Number of sockets of each user, so that there are about `sockets`: `FIGURES_SOCKETS` replaces the default, for a quick run.
fn sockets_of_each(sockets: usize) -> usize {
    let wanted = std::env::var("FIGURES_SOCKETS").ok().and_then(|text| text.parse().ok()).unwrap_or(sockets);
    wanted.min(sockets).div_ceil(world::PEOPLE)
}

/// The median and the 99th percentile.
fn summary(times: &mut [Duration]) -> String {
    if times.is_empty() {
        return "nothing".to_owned();
    }
    let (median, p99) = median_and(times, 0.99);
    format!("median {median:.1?}, p99 {p99:.1?}, worst {:.1?}", times[times.len() - 1])
}
