//! Measures the figures of the README. `scripts/figures` builds the programs and runs this.

mod attack;
mod cpu;
#[path = "../engine.rs"]
mod engine;
mod feed;
mod fuzz;
#[path = "../../tests/fuzzer/mod.rs"]
mod fuzzer;
mod growth;
mod live;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::Utc;
use cruddur_messaging::aws::Aws;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::messages_table::MessagesTable;
use cruddur_messaging::messages_table::schema::{Billing, load_leases_table, load_messages_table};
use cruddur_messaging::model::{MessageGroupUuid, Participant, UserUuid};
use cruddur_messaging::seed::{local_cognito_user_id, seed_messages, seed_users};
use cruddur_messaging::users::Users;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use engine::Engine;

const TABLE: &str = "cruddur-messages";
const POOL: &str = "eu-central-1_figures";
const CLIENT: &str = "figures";
const REQUESTS: usize = 10_000;
const MOVES: usize = 500;
const STARTS: usize = 5;

const LIST: &str = "{ messageGroups(first: 20) { nodes { uuid participants { handle displayName } lastMessageAt \
                    lastMessage { body author { handle } } } } }";
const TOP: &str = "query ($after: String) { messageGroups(first: 1) { nodes { lastMessage { uuid } } } \
                   feed(after: $after, first: 1) { events { ... on MessageAdded { message { uuid } } } endCursor } }";
const SEND: &str = "mutation ($body: String!, $key: UUID!) { createMessage(input: { to: { handle: \"ben\" }, body: $body, \
                    idempotencyKey: $key }) { message { uuid } } }";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(production), Some(development), Some(bare)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!(
            "usage: figures PRODUCTION_BINARY DEVELOPMENT_BINARY BARE_HANDLER \
             [cpu | fuzz SECONDS | attack SECONDS [ATTACK…] | growth MESSAGES CONVERSATIONS | \
              live [idle | latency | storm | slow | node]… | FOLDER_FOR_PROFILES]"
        );
    };
    if let Some(what) = arguments.next() {
        if what == Path::new("fuzz") || what == Path::new("attack") {
            let seconds = arguments.next().and_then(|it| it.to_str()?.parse().ok()).context("how many seconds?")?;
            let how_long = Duration::from_secs(seconds);
            if what == Path::new("fuzz") {
                return fuzz::run(&production, how_long).await;
            }
            let names: Vec<_> = arguments.map(|name| name.to_string_lossy().into_owned()).collect();
            return attack::run(&production, how_long, &names).await;
        }
        if what == Path::new("growth") {
            let mut number = || arguments.next().and_then(|it| it.to_str()?.parse().ok());
            let (Some(messages), Some(conversations)) = (number(), number()) else { bail!("how many messages?") };
            return growth::run(&production, growth::Size { messages, conversations }).await;
        }
        if what == Path::new("live") {
            let names: Vec<_> = arguments.map(|name| name.to_string_lossy().into_owned()).collect();
            return live::run(&production, &names).await;
        }
        let what = if what == Path::new("cpu") { Wanted::Cpu } else { Wanted::Profiles(&what) };
        return served(&production, &bare, what).await;
    }
    let size = std::fs::metadata(&production).context("the production binary")?.len();
    println!("production binary, stripped: {:.1} MB", mega(size));
    second_starts(&development)?;
    served(&production, &bare, Wanted::All).await
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Runs a program until it prints a line with `mark`. Returns the line, the time, and the process.
fn start_until(command: &mut Command, mark: &str) -> anyhow::Result<(String, Duration, Child)> {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains(mark))).context("it ended")?;
    let took = begin.elapsed();
    std::thread::spawn(move || lines.for_each(drop));
    Ok((line, took, child))
}

fn interrupt(mut child: Child) -> anyhow::Result<()> {
    Command::new("kill").arg("-INT").arg(child.id().to_string()).status()?;
    child.wait()?;
    Ok(())
}

fn second_starts(development: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut times = Vec::new();
    for _ in 0..=STARTS {
        let mut command = Command::new(development);
        command
            .args(["dev", "--listen-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .stderr(Stdio::null());
        let (_, took, child) = start_until(&mut command, "Ready.")?;
        interrupt(child)?;
        times.push(took);
    }
    println!("dev to ready, first start: {:.2} s", times.remove(0).as_secs_f64());
    let (median, worst) = median_and(&mut times, 1.0);
    println!(
        "dev to ready, later starts: median {:.2} s, worst {:.2} s of {STARTS}",
        median.as_secs_f64(),
        worst.as_secs_f64()
    );
    Ok(())
}

fn median_and(times: &mut [Duration], quantile: f64) -> (Duration, Duration) {
    times.sort();
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile).round() as usize];
    (at(0.5), at(quantile))
}

/// Engines with the seeded users, and the issuer of their tokens.
struct Stores {
    engine: Engine,
    postgres: EmbeddedPostgres,
    issuer: LocalIssuer,
    jwks_url: String,
}

impl Stores {
    /// Also returns a client of DynamoDB and the users. The users must be closed before `serve` starts, because the embedded
    /// PostgreSQL has only one connection.
    async fn start() -> anyhow::Result<(Self, Aws, Users)> {
        let engine = Engine::start().await?;
        let aws = Aws::local(engine.dynamodb.url()).await;
        load_messages_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await?;
        load_leases_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await?;
        let postgres = EmbeddedPostgres::start(None, TcpListener::bind("127.0.0.1:0").await?).await?;
        let users = Users::new(postgres.pool()?);
        users.migrate().await?;
        seed_users(&users, local_cognito_user_id).await?;
        let issuer = LocalIssuer::generate()?;
        let jwks_url = issuer.serve(CancellationToken::new()).await?.jwks_url;
        Ok((Self { engine, postgres, issuer, jwks_url }, aws, users))
    }
}

/// Engines with data for `serve`.
struct Engines {
    engine: Engine,
    postgres: EmbeddedPostgres,
    issuer: LocalIssuer,
    jwks_url: String,
    esi: UserUuid,
    groups: Vec<MessageGroupUuid>,
    ben: UserUuid,
    ana: Participant,
}

impl Engines {
    async fn start() -> anyhow::Result<Self> {
        let (Stores { engine, postgres, issuer, jwks_url }, aws, users) = Stores::start().await?;
        let table = MessagesTable::new(aws.dynamodb.clone(), TABLE);
        seed_messages(&table, &users).await?;
        let groups = cpu::prepare(&table, &users, "esi", cpu::GROUPS).await?;
        cpu::prepare(&table, &users, "dmitri", attack::GROUPS).await?;
        let user = async |handle: &str| users.by_handle(handle).await?.context("a seeded user");
        let (esi, ben) = (user("esi").await?.uuid, user("ben").await?.uuid);
        let ana = Participant::from(&*user("ana").await?);
        users.close().await;
        Ok(Self { engine, postgres, issuer, jwks_url, esi, groups, ben, ana })
    }

    /// The command `serve` with these engines.
    fn serve(&self, production: &Path) -> Command {
        serve_command(production, self.engine.dynamodb.url(), self.postgres.url(), &self.jwks_url)
    }
}

/// The command `serve` with these stores.
fn serve_command(production: &Path, dynamodb: &str, postgres: &str, jwks_url: &str) -> Command {
    let mut command = Command::new(production);
    command
        .arg("serve")
        .env("AWS_ENDPOINT_URL", dynamodb)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "figures")
        .env("AWS_SECRET_ACCESS_KEY", "figures")
        .env("DATABASE_URL", postgres)
        // The embedded PostgreSQL has one connection.
        .env("DATABASE_MAX_CONNECTIONS", "1")
        .env("HINT_BROKER", "none")
        .env("AWS_COGNITO_USER_POOL_ID", POOL)
        .env("AWS_COGNITO_USER_POOL_CLIENT_ID", CLIENT)
        .env("COGNITO_JWKS_URL", jwks_url)
        .env("METRICS_ADDR", "127.0.0.1:0")
        .env("MESSAGES_PER_MINUTE", "0")
        .env("RUST_LOG", "warn");
    command
}

/// The measurements of a server.
enum Wanted<'a> {
    All,
    /// The CPU time of requests.
    Cpu,
    /// Profiles of that time, recorded in a folder.
    Profiles(&'a Path),
}

async fn served(production: &Path, bare: &Path, wanted: Wanted<'_>) -> anyhow::Result<()> {
    let engines = Engines::start().await?;
    let Engines { engine, issuer, esi, groups, .. } = &engines;
    let mut command = engines.serve(production);
    let port = free_port()?;
    command.env("LISTEN_ADDR", format!("127.0.0.1:{port}"));
    let url = format!("http://127.0.0.1:{port}");
    if matches!(wanted, Wanted::All) {
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let child = command.env("METRICS_ADDR", &metrics).spawn()?;
        let result = measure(&child, &url, &metrics, &engines).await;
        interrupt(child)?;
        result?;
    }
    // Without the consumer, whose work is not part of a request.
    let child = command.arg("--no-worker").spawn()?;
    let caller = Caller { http: reqwest::Client::new(), url: format!("{url}/graphql"), token: token(issuer, "esi")? };
    until_ready(&caller.http, &url).await?;
    let profiles = match wanted {
        Wanted::Profiles(folder) => Some(folder),
        Wanted::All | Wanted::Cpu => None,
    };
    let result = cpu::compare(&child, &caller, bare, engine.dynamodb.url(), (*esi, groups), profiles).await;
    interrupt(child)?;
    result
}

async fn until_ready(http: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    let ready = async {
        while !http.get(format!("{url}/health/ready")).send().await.is_ok_and(|it| it.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.context("serve does not become ready")
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn measure(child: &Child, url: &str, metrics: &str, engines: &Engines) -> anyhow::Result<()> {
    let Engines { engine, issuer, .. } = engines;
    let http = reqwest::Client::new();
    until_ready(&http, url).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("serve, resident when idle: {:.1} MB", resident(child)?);

    let ana = Caller { http: http.clone(), url: format!("{url}/graphql"), token: token(issuer, "ana")? };
    let ben = Caller { token: token(issuer, "ben")?, ..ana.clone() };
    let begin = Instant::now();
    let answers = stream::iter(0..REQUESTS).map(|_| ana.ask(LIST, json!({}))).buffer_unordered(32);
    let failed = answers.filter(|answer| futures::future::ready(answer.is_err())).count().await;
    println!(
        "serve, resident after {REQUESTS} requests ({failed} failed, {:.0} a second beside the engines): {:.1} MB",
        REQUESTS as f64 / begin.elapsed().as_secs_f64(),
        resident(child)?
    );

    let mut times = Vec::new();
    let mut after = feed::end(&ben).await?;
    for number in 0..MOVES {
        let sent = ana.ask(SEND, json!({ "body": format!("message {number}"), "key": Uuid::new_v4() })).await?;
        let uuid = &sent["createMessage"]["message"]["uuid"];
        let begin = Instant::now();
        loop {
            let page = ben.ask(TOP, json!({ "after": after })).await?;
            let is_moved = &page["messageGroups"]["nodes"][0]["lastMessage"]["uuid"] == uuid;
            if is_moved && &page["feed"]["events"][0]["message"]["uuid"] == uuid {
                after = page["feed"]["endCursor"].clone();
                break;
            }
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("message {number} did not move its conversation");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(begin.elapsed());
        // The messages are sent at different times between two reads of the stream.
        tokio::time::sleep(Duration::from_millis(u64::from(rand::random::<u8>()))).await;
    }
    let (median, p99) = median_and(&mut times, 0.99);
    println!("response of createMessage to moved row and feed entry: median {median:.0?}, p99 {p99:.0?} of {MOVES}");
    let aws = Aws::local(engine.dynamodb.url()).await;
    feed::storage(&aws).await?;
    let table = MessagesTable::new(aws.dynamodb, TABLE);
    feed::catch_up(child, metrics, &ben, &table, (engines.ben, &engines.ana)).await
}

fn token(issuer: &LocalIssuer, handle: &str) -> anyhow::Result<String> {
    let mut claims = LocalIssuer::claims(&local_cognito_user_id(handle), Utc::now());
    claims["iss"] = json!(format!("https://cognito-idp.eu-central-1.amazonaws.com/{POOL}"));
    claims["client_id"] = json!(CLIENT);
    issuer.sign(&claims)
}

/// Resident memory in MB. Source: proc(5), `VmRSS`.
fn resident(child: &Child) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}

#[derive(Clone)]
struct Caller {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Caller {
    async fn ask(&self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let body = json!({ "query": query, "variables": variables });
        let answer: Value = self.http.post(&self.url).bearer_auth(&self.token).json(&body).send().await?.json().await?;
        if answer.get("errors").is_some() {
            bail!("{answer}");
        }
        Ok(answer["data"].clone())
    }
}

/// The read and write units that a server has consumed so far, as its metrics say.
async fn units(http: &reqwest::Client, metrics: &str) -> anyhow::Result<(f64, f64)> {
    let text = http.get(format!("http://{metrics}/metrics")).send().await?.text().await?;
    let mut units = (0.0, 0.0);
    for line in text.lines().filter(|line| line.starts_with("dynamodb_consumed_half_units_total{")) {
        let halves: f64 = line.rsplit(' ').next().context("no number")?.parse()?;
        let is_read = ["GetItem", "Query", "Scan"].iter().any(|operation| line.contains(operation));
        *(if is_read { &mut units.0 } else { &mut units.1 }) += halves / 2.0;
    }
    Ok(units)
}

/// CPU time of all threads so far. Source: the kernel's documentation of scheduler statistics, `/proc/<pid>/schedstat`.
fn cpu_time(child: &Child) -> anyhow::Result<Duration> {
    cpu_time_of(child.id())
}

/// The same of the process with this id.
fn cpu_time_of(process: u32) -> anyhow::Result<Duration> {
    let mut all = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread can end meanwhile.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        all += Duration::from_nanos(text.split(' ').next().context("no time")?.parse()?);
    }
    Ok(all)
}
