//! `dev` and `token` as processes: everything runs without other services, and data is kept over restarts.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::{Running, command, one_line, run};
use crate::harness::{Client, eventually, test};

fn dev(data_dir: &Path) -> Command {
    let mut command = command();
    command
        .arg("dev")
        .arg("--data-dir")
        .arg(data_dir)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("METRICS_ADDR", "127.0.0.1:0");
    command
}

/// A running `dev` and what it printed.
struct Dev {
    process: Running,
    address: SocketAddr,
    first_token: String,
}

fn start(command: &mut Command) -> Dev {
    tokio::task::block_in_place(|| {
        let mut process = Running::start(command);
        let address = process.wait_for("the URL of GraphQL", |line| {
            line.trim().strip_prefix("GraphQL ")?.trim().strip_prefix("http://")?.strip_suffix("/graphql")?.parse().ok()
        });
        let first_token = process.wait_for("a token", |line| line.starts_with("eyJ").then(|| line.to_owned()));
        process.wait_for("the curl", |line| line.starts_with("curl ").then_some(()));
        process.wait_for("the end", |line| line.starts_with("Ctrl-C").then_some(()));
        Dev { process, address, first_token }
    })
}

fn stop(dev: &mut Dev, signal: &str) {
    dev.process.signal(signal);
    let status = tokio::task::block_in_place(|| dev.process.wait());
    assert_eq!(status.success(), signal != "KILL", "{status}");
}

fn token(data_dir: &Path, handle: &str) -> String {
    let output = tokio::task::block_in_place(|| run(command().args(["token", handle, "--data-dir"]).arg(data_dir)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 1, "the token and nothing else: {text}");
    text.trim().to_owned()
}

async fn lists(client: &Client) -> Vec<(Value, Value)> {
    client
        .groups(10)
        .await
        .iter()
        .map(|it| (it["otherParticipant"]["handle"].clone(), it["lastMessage"]["body"].clone()))
        .collect()
}

#[test]
fn the_first_start_creates_everything_and_a_restart_keeps_it() {
    test(async {
        let folder = TempDir::new().expect("a folder");
        let data_dir = folder.path().join("data");
        let mut first = start(&mut dev(&data_dir));
        let ana = Client::new(first.address, Some(first.first_token.clone()));
        assert_eq!(ana.data("{ me { handle } }", json!({})).await["me"]["handle"], "ana");
        let seeded = lists(&ana).await;
        assert_eq!(seeded.len(), 2);
        let long = ana.groups(10).await[1]["uuid"].clone();
        assert_eq!(ana.bodies(&long).await.len(), 66);
        assert_eq!(lists(&Client::new(first.address, Some(token(&data_dir, "esi")))).await, vec![]);

        // One user sends to a handle, the other one replies, and the conversation is the first of both.
        ana.send(json!({ "handle": "esi" }), "Hello Esi").await;
        let esi = Client::new(first.address, Some(token(&data_dir, "esi")));
        esi.send(json!({ "handle": "ana" }), "Hello Ana").await;
        for (client, other) in [(&ana, "esi"), (&esi, "ana")] {
            eventually("the conversation on top", || async {
                (lists(client).await.first()? == &(json!(other), json!("Hello Ana"))).then_some(())
            })
            .await;
        }
        let page = reqwest::get(format!("http://{}/graphiql", first.address)).await.expect("a page");
        assert!(page.text().await.expect("a page").contains(&format!("Bearer {}", first.first_token)));

        let refused = tokio::task::block_in_place(|| one_line(&run(&mut dev(&data_dir))));
        assert!(refused.contains("in use") && refused.contains("--data-dir"), "{refused}");
        stop(&mut first, "INT");

        // Seeding again changes nothing, and the old tokens are valid.
        let before_kill = {
            let mut second = start(&mut dev(&data_dir));
            let ana = Client::new(second.address, Some(first.first_token.clone()));
            let listed = lists(&ana).await;
            assert_eq!(listed.len(), 3);
            assert_eq!(listed[0], (json!("esi"), json!("Hello Ana")));
            assert_eq!(ana.bodies(&long).await.len(), 66);
            ana.send(json!({ "handle": "ben" }), "before the end").await;
            stop(&mut second, "KILL");
            listed
        };
        let mut third = start(&mut dev(&data_dir));
        let ana = Client::new(third.address, Some(first.first_token.clone()));
        assert_eq!(ana.bodies(&long).await.last().map(String::as_str), Some("before the end"));
        eventually("the move that the end prevented", || async {
            (lists(&ana).await.first()? == &(json!("ben"), json!("before the end"))).then_some(())
        })
        .await;
        assert_eq!(lists(&ana).await.len(), before_kill.len());
        stop(&mut third, "TERM");

        // Also without a running `dev`.
        let offline = token(&data_dir, "ana");
        let mut fresh = start(dev(&data_dir).arg("--fresh"));
        let ana = Client::new(fresh.address, Some(fresh.first_token.clone()));
        assert_eq!(lists(&ana).await, seeded);
        let old = Client::new(fresh.address, Some(offline));
        assert_eq!(
            old.execute("{ me { handle } }", json!({})).await["errors"][0]["extensions"]["code"],
            "UNAUTHENTICATED"
        );
        stop(&mut fresh, "INT");
    });
}

#[test]
fn an_error_at_the_start_is_one_line() {
    let folder = TempDir::new().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_address = taken.local_addr().expect("an address").to_string();
    let line = one_line(&run(dev(&folder.path().join("data")).env("LISTEN_ADDR", &taken_address)));
    assert!(line.contains(&taken_address) && line.contains("LISTEN_ADDR"), "{line}");

    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("a file");
    let line = one_line(&run(&mut dev(&file.join("data"))));
    assert!(line.contains("--data-dir"), "{line}");

    let line = one_line(&run(command().args(["token", "ana", "--data-dir"]).arg(folder.path().join("nothing"))));
    assert!(line.contains("--data-dir"), "{line}");
}
