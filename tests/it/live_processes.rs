//! Hints between processes, through a native PostgreSQL in `TEST_DATABASE_URL`: `.ci/run` runs these tests. Without hints, a
//! subscription receives a message only when it compares its feed with the table, which takes longer than the deadline of a
//! test, unless the process knows that hints do not arrive.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::event_stream::EventStream;
use crate::harness::live::{FEED, delete_user, ready};
use crate::harness::postgres_relay::PostgresRelay;
use crate::harness::process::{Running, configured, listening, token_for};
use crate::harness::{Client, TestUser, World, eventually, shared, test, user};

fn database_url() -> String {
    std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL: a native PostgreSQL")
}

/// An API process, a worker process, and two users.
struct Processes {
    world: World,
    api: Running,
    worker: Running,
    address: SocketAddr,
    metrics: SocketAddr,
    ana: TestUser,
    ben: TestUser,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

async fn process(world: &World, arguments: &[&str]) -> Command {
    let mut command = configured(arguments, world.engine_url(), &database_url(), &shared().await.token_issuer.jwks_url);
    command.env("HINT_BROKER", "postgres").env("AWS_ENDPOINT_URL", world.engine_url());
    command
}

impl Processes {
    /// Starts the processes. The API listens for hints at `listen_url`.
    async fn start(listen_url: &str) -> Self {
        let world = World::new().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let metrics = free_port();
        let worker = Running::start(&mut process(&world, &["worker"]).await);
        let mut api = process(&world, &["serve", "--no-worker"]).await;
        api.env("DATABASE_LISTEN_URL", listen_url).env("METRICS_ADDR", metrics.to_string());
        let mut api = Running::start(&mut api);
        let address = tokio::task::block_in_place(|| api.wait_for("its address", listening));
        let address = address.parse().expect("an address");
        Self { world, api, worker, address, metrics, ana, ben }
    }

    async fn new_worker(&self) -> Running {
        Running::start(&mut process(&self.world, &["worker"]).await)
    }

    async fn client(&self, user: &TestUser) -> Client {
        Client::new(self.address, Some(token_for(&shared().await.issuer, &user.cognito_user_id)))
    }

    async fn subscribe(&self, user: &TestUser) -> EventStream {
        let mut stream = EventStream::start(&self.client(user).await, FEED, json!({})).await;
        ready(&stream.event().await);
        stream
    }

    async fn send(&self, body: &str) {
        self.send_to(&self.ana, body).await;
    }

    async fn send_to(&self, user: &TestUser, body: &str) {
        self.client(&self.ben).await.send_to(user, body).await;
    }

    /// Waits until the metrics and the readiness say whether hints arrive.
    async fn hints_arrive(&self, expected: bool) {
        let (metrics, health) =
            (format!("http://{}/metrics", self.metrics), format!("http://{}/health/ready", self.address));
        eventually("the state of the hints", || async {
            let text = reqwest::get(&metrics).await.ok()?.text().await.ok()?;
            let ready: Value = reqwest::get(&health).await.ok()?.json().await.ok()?;
            let metric = format!("live_hints_arrive {}", u8::from(expected));
            (text.lines().any(|line| line == metric) && ready["liveHints"] == json!(expected)).then_some(())
        })
        .await;
    }
}

/// Waits for the message `body`, which must be the next event.
async fn expect_message(stream: &mut EventStream, body: &str) {
    let event = stream.event().await;
    assert_eq!((&event["__typename"], &event["message"]["body"]), (&json!("MessageAdded"), &json!(body)));
}

async fn pool() -> PgPool {
    PgPool::connect(&database_url()).await.expect("a connection")
}

/// Ends the connections that listen. Returns their number.
async fn terminate_listeners(pool: &PgPool) -> u64 {
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    sqlx::query(terminate).execute(pool).await.expect("terminated").rows_affected()
}

#[test]
#[ignore = "needs a native PostgreSQL"]
fn a_message_that_another_process_feeds_arrives_at_once() {
    test(async {
        let processes = Processes::start(&database_url()).await;
        processes.hints_arrive(true).await;
        let mut stream = processes.subscribe(&processes.ana).await;
        let third = user("third").await;
        let mut others = processes.subscribe(&third).await;
        for body in ["one", "two", "three"] {
            processes.send(body).await;
            expect_message(&mut stream, body).await;
        }
        processes.send_to(&third, "for the third user").await;
        expect_message(&mut others, "for the third user").await;
    });
}

#[test]
#[ignore = "needs a native PostgreSQL"]
fn a_listener_that_is_terminated_connects_again_and_nothing_is_lost() {
    test(async {
        let processes = Processes::start(&database_url()).await;
        processes.hints_arrive(true).await;
        let mut stream = processes.subscribe(&processes.ana).await;
        let pool = pool().await;
        for round in 0..5 {
            assert!(terminate_listeners(&pool).await > 0, "there is a listener");
            let body = round.to_string();
            processes.send(&body).await;
            expect_message(&mut stream, &body).await;
            processes.hints_arrive(true).await;
        }
        processes.send("last").await;
        expect_message(&mut stream, "last").await;
    });
}

#[test]
#[ignore = "needs a native PostgreSQL"]
fn while_the_network_of_the_listener_is_silent_messages_arrive_later() {
    test(async {
        let relay = PostgresRelay::start(&database_url()).await;
        let processes = Processes::start(&relay.url()).await;
        processes.hints_arrive(true).await;
        let mut stream = processes.subscribe(&processes.ana).await;
        relay.silence(true);
        processes.hints_arrive(false).await;
        processes.send("late").await;
        expect_message(&mut stream, "late").await;
        relay.silence(false);
        processes.hints_arrive(true).await;
        processes.send("on time").await;
        expect_message(&mut stream, "on time").await;
    });
}

#[test]
#[ignore = "needs a native PostgreSQL"]
fn while_workers_are_killed_a_subscription_delivers_each_message_once_and_in_order() {
    test(async {
        let mut processes = Processes::start(&database_url()).await;
        let mut stream = processes.subscribe(&processes.ana).await;
        let mut number = 0;
        for _ in 0..3 {
            for _ in 0..10 {
                processes.send(&number.to_string()).await;
                number += 1;
            }
            processes.worker.signal("KILL");
            processes.worker = processes.new_worker().await;
        }
        for body in 0..number {
            expect_message(&mut stream, &body.to_string()).await;
        }
    });
}

/// PgBouncer in transaction mode in front of PostgreSQL.
fn pgbouncer() -> (Running, String) {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let port = free_port().port();
    let url = database_url();
    let (_, server) = url.rsplit_once('@').expect("a URL with a user");
    let (host, database) = server.split_once('/').expect("a URL with a database");
    let (host, server_port) = host.split_once(':').expect("a URL with a port");
    let settings = folder.join("pgbouncer.ini");
    let text = format!(
        "[databases]\n{database} = host={host} port={server_port} dbname={database} user=postgres\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n\
         unix_socket_dir =\n"
    );
    std::fs::File::create(&settings).and_then(|mut file| file.write_all(text.as_bytes())).expect("settings");
    let mut command = match Command::new("id").arg("-u").output().expect("id").stdout.as_slice() {
        // PgBouncer does not run as root.
        b"0\n" => {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "pgbouncer"]);
            assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(&folder).status().expect("chmod").success());
            command
        }
        _ => Command::new("pgbouncer"),
    };
    command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    running.wait_for("that it listens", |line| line.contains("process up").then_some(()));
    (running, format!("postgresql://postgres@127.0.0.1:{port}/{database}"))
}

#[test]
#[ignore = "needs a native PostgreSQL and PgBouncer"]
fn behind_a_pooler_in_transaction_mode_messages_arrive_later() {
    test(async {
        let (_pgbouncer, url) = pgbouncer();
        let mut processes = Processes::start(&url).await;
        processes.hints_arrive(false).await;
        let cause =
            |line: &str| line.contains("DATABASE_LISTEN_URL must not lead to a connection pooler").then_some(());
        tokio::task::block_in_place(|| processes.api.wait_for("why hints do not arrive", cause));
        let mut stream = processes.subscribe(&processes.ana).await;
        for body in ["one", "two"] {
            processes.send(body).await;
            expect_message(&mut stream, body).await;
        }
    });
}

#[test]
#[ignore = "needs a native PostgreSQL"]
fn a_deleted_user_loses_the_stream() {
    test(async {
        let processes = Processes::start(&database_url()).await;
        let mut stream = processes.subscribe(&processes.ana).await;
        let mut other = processes.subscribe(&processes.ben).await;
        delete_user(&processes.ana).await;
        stream.ended().await;
        let third = user("third").await;
        processes.send_to(&third, "still here").await;
        expect_message(&mut other, "still here").await;
    });
}
