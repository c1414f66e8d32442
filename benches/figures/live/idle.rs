//! Memory of sockets that have subscribed and receive nothing.

use std::time::Duration;

use tokio::time::sleep;

use super::crowd::{Client, Crowd};
use super::socket::Protocol;
use super::world::{PEOPLE, Server, World};
use super::{DEADLINE, sockets_of_each};

const SOCKETS: usize = 10_000;
/// Maximum memory of a socket in bytes.
const GOAL: f64 = 12_000.0;
/// Clients that connect before the first measurement, so that caches and pools are filled.
const WARM_UP: usize = 100;
/// After this time, each socket has received a ping, and the allocator has returned freed memory.
const SETTLE_TIME: Duration = Duration::from_secs(30);

pub async fn run(world: &World) -> anyhow::Result<Vec<String>> {
    let mut missed = Vec::new();
    for (protocol, name) in Protocol::ALL {
        let stores = world.stores().await?;
        let server = world.serve(&stores, &[]).await?;
        let clients = |count| (0..PEOPLE * count).map(move |number| world.client(number / count, protocol));
        let bytes = measure(&server, clients(1).take(WARM_UP), clients(sockets_of_each(SOCKETS)), name).await?;
        server.stop()?;
        if bytes > GOAL {
            missed.push(format!("an idle socket takes {bytes:.0} bytes with {name}"));
        }
    }
    Ok(missed)
}

/// Prints the memory of each client, and returns it in bytes.
pub async fn measure(
    server: &Server,
    warm_up: impl Iterator<Item = Client>,
    clients: impl Iterator<Item = Client>,
    name: &str,
) -> anyhow::Result<f64> {
    let crowd = Crowd::open(server.address, warm_up);
    crowd.until_ready(DEADLINE).await?;
    crowd.close().await?;
    sleep(SETTLE_TIME / 2).await;
    let before = server.memory()?;
    let cpu_before = server.cpu_time()?;
    let clients: Vec<Client> = clients.collect();
    let count = clients.len() as f64;
    let crowd = Crowd::open(server.address, clients);
    let took = crowd.until_ready(DEADLINE).await?;
    let (cpu, connected) = (server.cpu_time()?.saturating_sub(cpu_before), server.memory()?);
    sleep(SETTLE_TIME).await;
    let cpu_before = server.cpu_time()?;
    sleep(SETTLE_TIME).await;
    let idle = server.cpu_time()?.saturating_sub(cpu_before);
    let after = server.memory()?;
    crowd.close().await?;
    sleep(SETTLE_TIME / 2).await;
    let closed = server.memory()?;
    let each = (after.resident - before.resident) / count;
    println!(
        "  {name}: {each:.0} bytes of resident memory for each of {count} idle sockets ({:.0} bytes proportional)",
        (after.proportional - before.proportional) / count
    );
    println!(
        "    resident: {:.1} MB before, {:.1} MB when all have subscribed ({:.1} s, {:.0} µs of CPU time for each), \
         {:.1} MB later, {:.1} MB after all have closed; {:.1} % of a core while idle",
        before.resident / 1e6,
        connected.resident / 1e6,
        took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count,
        after.resident / 1e6,
        closed.resident / 1e6,
        100.0 * idle.as_secs_f64() / SETTLE_TIME.as_secs_f64()
    );
    Ok(each)
}
