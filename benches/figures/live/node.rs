//! The same clients at a server with `graphql-ws` on Node: an emitter in the process, no store, no verification of tokens.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use super::super::free_port;
use super::crowd::{Client, Crowd};
use super::socket::Protocol;
use super::world::{PEOPLE, Server, World};
use super::{DEADLINE, idle, sockets_of_each};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/live-node/server.mjs");
const SOCKETS: usize = 1_000;
const IDLE_SOCKETS: usize = 10_000;
const PER_SECOND: usize = 200;
const MESSAGES: usize = 2_000;

pub async fn run(world: &World) -> anyhow::Result<()> {
    ensure!(Path::new(SCRIPT).with_file_name("node_modules").exists(), "npm ci was not run in benches/live-node");
    let clients = |each: usize| (0..PEOPLE * each).map(move |number| client(world, number / each));
    let server = start().await?;
    idle::measure(&server, clients(1), clients(sockets_of_each(IDLE_SOCKETS)), "graphql-ws on Node").await?;
    server.stop()?;

    let server = start().await?;
    let each = sockets_of_each(SOCKETS);
    let crowd = Crowd::open(server.address, clients(each));
    crowd.until_ready(DEADLINE).await?;
    for is_measured in [false, true] {
        crowd.take();
        let before = server.cpu_time()?;
        let emit = format!("http://{}/emit?people={PEOPLE}&count={MESSAGES}&rate={PER_SECOND}", server.address);
        reqwest::get(emit).await?.error_for_status()?;
        let events = MESSAGES * 2 * each;
        let took = crowd.until_received(events, DEADLINE).await?;
        let cpu = server.cpu_time()?.saturating_sub(before);
        if is_measured {
            println!(
                "  graphql-ws on Node: {:.0} events delivered a second to {} sockets; CPU time of the process for each: {:.0} µs",
                events as f64 / took.as_secs_f64(),
                PEOPLE * each,
                cpu.as_secs_f64() * 1e6 / events as f64
            );
        }
    }
    crowd.close().await?;
    server.stop()
}

async fn start() -> anyhow::Result<Server> {
    let port = free_port()?;
    let server = Server::start(Command::new("node").arg(SCRIPT).env("PORT", port.to_string()), port, String::new())?;
    while tokio::net::TcpStream::connect(server.address).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    Ok(server)
}

/// The token of this server is the number of the user.
fn client(world: &World, person: usize) -> Client {
    Client { token: person.to_string().into(), ..world.client(person, Protocol::WebSocket) }
}
