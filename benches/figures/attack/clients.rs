//! The well-behaved clients. Each sends its requests at fixed times, so that a slow response does not reduce the load.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::super::{Caller, LIST, SEND, TOP, median_and};

/// Number of clients that keep their connections, and of those that open one for each request.
const KEEPING: usize = 6;
const OPENING: usize = 2;
/// How often each sends a request.
const INTERVAL: Duration = Duration::from_millis(200);
/// A client sends a message in one of so many requests. The embedded engine reads its whole stream at each write, so with more
/// messages it would be slower than the server within minutes.
const CYCLE: usize = 20;
/// How long a client with a slow connection takes to send a body.
const SLOW_BODY: Duration = Duration::from_secs(1);
/// How long a client waits for a response.
const PATIENCE: Duration = Duration::from_secs(10);

/// The responses that the clients got.
#[derive(Default)]
pub struct Answers {
    /// From the time at which a request was due.
    times: Vec<Duration>,
    errors: usize,
    /// The first error.
    pub error: Option<String>,
}

impl Answers {
    /// The 99th percentile of the times.
    pub fn p99(&self) -> Duration {
        median_and(&mut self.times.clone(), 0.99).1
    }

    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, p99) = median_and(&mut self.times.clone(), 0.99);
        write!(formatter, "{} requests, {} errors, median {median:.1?}, p99 {p99:.1?}", self.times.len(), self.errors)
    }
}

/// Runs the clients for a while.
pub async fn run(ana: &Caller, esi: &Caller, how_long: Duration) -> Answers {
    let keeping = (0..KEEPING).map(|number| (number, reqwest::Client::builder()));
    let opening = (0..OPENING).map(|number| (number, reqwest::Client::builder().pool_max_idle_per_host(0)));
    let all = keeping.chain(opening).enumerate().map(|(number, (turn, http))| async move {
        let caller = if number % 2 == 0 { ana } else { esi };
        match http.timeout(PATIENCE).build() {
            Ok(http) => client(&Caller { http, ..caller.clone() }, turn, how_long).await,
            Err(error) => Answers { errors: 1, error: Some(error.to_string()), ..Answers::default() },
        }
    });
    let mut answers = Answers::default();
    let (all, slow) = futures::join!(join_all(all), slow_client(ana, how_long));
    all.into_iter().chain([slow]).for_each(|more| answers.add(more));
    answers
}

async fn client(caller: &Caller, turn: usize, how_long: Duration) -> Answers {
    let begin = Instant::now();
    let mut answers = Answers::default();
    // They do not start together.
    let mut due = begin + INTERVAL.mul_f64(rand::random());
    for number in turn.. {
        if due.duration_since(begin) >= how_long {
            break;
        }
        sleep_until(due).await;
        let answer = match number % CYCLE {
            0 => caller.ask(SEND, json!({ "body": format!("message {number}"), "key": Uuid::new_v4() })).await,
            1..5 => caller.ask(TOP, json!({})).await,
            _ => caller.ask(LIST, json!({})).await,
        };
        answers.times.push(due.elapsed());
        if let Err(error) = answer {
            answers.errors += 1;
            answers.error.get_or_insert(format!("{error:#}"));
        }
        due += INTERVAL;
    }
    answers
}

/// A client with a slow connection. Its requests have no time, but they must succeed.
async fn slow_client(caller: &Caller, how_long: Duration) -> Answers {
    let begin = Instant::now();
    let mut answers = Answers::default();
    while begin.elapsed() + SLOW_BODY < how_long {
        let answer = timeout(PATIENCE, send_slowly(caller)).await.context("no response").flatten();
        if let Err(error) = answer {
            answers.errors += 1;
            answers.error.get_or_insert(format!("to a slow client: {error:#}"));
        }
    }
    answers
}

async fn send_slowly(caller: &Caller) -> anyhow::Result<()> {
    let address = caller.url.trim_start_matches("http://").trim_end_matches("/graphql");
    let mut connection = TcpStream::connect(address).await?;
    let body = json!({ "query": TOP }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        caller.token,
        body.len()
    );
    let (first, second) = body.split_at(body.len() / 2);
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(first.as_bytes()).await?;
    sleep(SLOW_BODY).await;
    connection.write_all(second.as_bytes()).await?;
    let mut response = String::new();
    connection.read_to_string(&mut response).await?;
    match response.starts_with("HTTP/1.1 200 ") && !response.contains("\"errors\"") {
        true => Ok(()),
        false => bail!("{response}"),
    }
}
