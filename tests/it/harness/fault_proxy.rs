//! A proxy between the SDK and the engine. It counts calls, and how many of them are concurrent, and injects faults: lost
//! responses, errors, delays, races. It also records the calls of each role.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Semaphore};

use super::recorder;

/// A fault of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the call before one that fails.
    Pass,
    /// The engine executes the call, and the connection is cut before the response.
    LoseAnswer,
    /// The engine does not get the call. The response has this status and error code.
    Answer(u16, &'static str),
    /// The engine does not get the call. The response has this status and body.
    Body(u16, &'static str),
}

/// The name under which Queries of the index are counted and gathered, in addition to `Query`.
pub const INDEX_QUERY: &str = "Query of the index";
/// The name under which Queries of users' lists are counted, in addition to `Query`.
pub const LIST_QUERY: &str = "Query of a list";
/// The name under which Queries of messages have faults of their own.
pub const MESSAGES_QUERY: &str = "Query of messages";

#[derive(Default)]
struct State {
    /// Whether every connection is cut before the engine gets the call.
    is_cut: bool,
    /// Maximum delay of a call before the engine gets it; each call has another one.
    slow: Duration,
    calls: HashMap<String, usize>,
    /// Write units that the engine reports for each operation.
    write_units: HashMap<String, f64>,
    /// Number of reads of the table that are not strongly consistent. The embedded engine never lags, DynamoDB does.
    lagging_reads: usize,
    /// Read units that `GetItem` and `Query` have consumed, as the engine reports them.
    read_units: f64,
    /// The faults of the next calls of each operation, in order.
    faults: HashMap<String, Vec<Fault>>,
    /// The operations whose next calls wait for each other, and how many calls are still missing.
    gathering: HashMap<String, (Arc<Barrier>, usize)>,
    /// The operations whose calls wait until the semaphore is closed.
    held: HashMap<String, Arc<Semaphore>>,
    /// Number of calls that run now, and the maximum that it has had.
    running: usize,
    most_running: usize,
}

/// Counts a call while it runs, also if its client closes the connection.
struct RunningCall<'a>(&'a Mutex<State>);

impl<'a> RunningCall<'a> {
    fn start(state: &'a Mutex<State>) -> Self {
        let mut locked = state.lock().expect("the proxy's state");
        locked.running += 1;
        locked.most_running = locked.most_running.max(locked.running);
        Self(state)
    }
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("the proxy's state").running -= 1;
    }
}

pub struct FaultProxy {
    url: String,
    state: Arc<Mutex<State>>,
}

impl FaultProxy {
    pub async fn start(engine: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let (engine, shared, client) = (engine.to_owned(), state.clone(), reqwest::Client::new());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (engine, state, client) = (engine.clone(), shared.clone(), client.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (engine, state, client) = (engine.clone(), state.clone(), client.clone());
                        async move { relay(request, &engine, &state, &client).await.ok_or("cut") }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, state }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL for a process under a role, whose calls are recorded.
    pub fn url_of(&self, role: &str) -> String {
        format!("{}/{role}", self.url)
    }

    /// Injects faults into the next calls of `operation`, in order.
    pub fn next(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(operation.to_owned()).or_default().extend(faults);
    }

    /// Cuts every connection from now on, or stops doing so.
    pub fn cut(&self, cut: bool) {
        self.lock().is_cut = cut;
    }

    /// Delays every call before the engine gets it, by a random time up to `most`.
    pub fn slow(&self, most: Duration) {
        self.lock().slow = most;
    }

    /// Removes the remaining faults of `operation`.
    pub fn forget(&self, operation: &str) {
        self.lock().faults.remove(operation);
    }

    /// The next `count` calls of `operation` reach the engine only when all of them have arrived: a certain race.
    pub fn gather(&self, operation: &str, count: usize) {
        self.lock().gathering.insert(operation.to_owned(), (Arc::new(Barrier::new(count)), count));
    }

    /// The calls of `operation` reach the engine only after [`FaultProxy::release`].
    pub fn hold(&self, operation: &str) {
        self.lock().held.insert(operation.to_owned(), Arc::new(Semaphore::new(0)));
    }

    /// Ends [`FaultProxy::hold`], also for the calls that wait.
    pub fn release(&self, operation: &str) {
        if let Some(held) = self.lock().held.remove(operation) {
            held.close();
        }
    }

    /// Whether all faults have been injected.
    pub fn is_spent(&self) -> bool {
        self.lock().faults.values().all(Vec::is_empty)
    }

    /// Number of calls of `operation` so far.
    pub fn calls(&self, operation: &str) -> usize {
        self.lock().calls.get(operation).copied().unwrap_or_default()
    }

    /// Number of reads of the table, not of its index, that were not strongly consistent.
    pub fn lagging_reads(&self) -> usize {
        self.lock().lagging_reads
    }

    /// Write units of the messages table that successful calls of `operation` have consumed so far.
    pub fn write_units(&self, operation: &str) -> f64 {
        self.lock().write_units.get(operation).copied().unwrap_or_default()
    }

    /// Read units that `GetItem` and `Query` have consumed so far.
    pub fn read_units(&self) -> f64 {
        self.lock().read_units
    }

    /// Maximum number of calls that have run at the same time.
    pub fn most_concurrent_calls(&self) -> usize {
        self.lock().most_running
    }

    /// Number of all calls so far. A Query of the index counts twice.
    pub fn all_calls(&self) -> usize {
        self.lock().calls.iter().filter(|(name, _)| *name != LIST_QUERY).map(|(_, calls)| calls).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("the proxy's state")
    }
}

/// `None` cuts the connection.
async fn relay(
    request: Request<Incoming>,
    engine: &str,
    state: &Mutex<State>,
    client: &reqwest::Client,
) -> Option<Response<Full<Bytes>>> {
    let _running = RunningCall::start(state);
    let (parts, body) = request.into_parts();
    let target = parts.headers.get("x-amz-target").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    {
        let mut state = state.lock().expect("the proxy's state");
        *state.calls.entry(operation.clone()).or_default() += 1;
        if state.is_cut {
            return None;
        }
    }
    let body = body.collect().await.ok()?.to_bytes();
    let is_read = matches!(operation.as_str(), "Query" | "GetItem");
    let asked: serde_json::Value = if is_read { serde_json::from_slice(&body).ok()? } else { json!(null) };
    let reads = |prefix| {
        let partition = asked["ExpressionAttributeValues"][":pk"]["S"].as_str();
        partition.is_some_and(|pk| pk.starts_with(prefix))
    };
    let (fault, slow) = {
        let mut state = state.lock().expect("the proxy's state");
        let mut next = |name: &str| {
            let faults = state.faults.get_mut(name).filter(|faults| !faults.is_empty());
            faults.map(|faults| faults.remove(0))
        };
        let of_messages = if reads("MSG#") { next(MESSAGES_QUERY) } else { None };
        (of_messages.or_else(|| next(&operation)), state.slow)
    };
    let role = parts.uri.path().trim_matches('/');
    if !role.is_empty() && target.starts_with("DynamoDB") {
        recorder::record(role, &operation, &body);
    }
    let answer = match fault {
        Some(Fault::Answer(status, code)) => {
            let body = format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"injected\"}}");
            Some((status, body))
        }
        Some(Fault::Body(status, body)) => Some((status, body.to_owned())),
        _ => None,
    };
    if let Some((status, body)) = answer {
        let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
        return response.body(Full::new(Bytes::from(body))).ok();
    }
    let mut reads_index = false;
    if is_read {
        reads_index = asked.get("IndexName").is_some();
        let mut state = state.lock().expect("the proxy's state");
        if reads_index {
            *state.calls.entry(INDEX_QUERY.to_owned()).or_default() += 1;
        } else if asked["ConsistentRead"] != true {
            state.lagging_reads += 1;
        }
        if reads("GRP#") {
            *state.calls.entry(LIST_QUERY.to_owned()).or_default() += 1;
        }
    }
    let (barrier, held) = {
        let mut state = state.lock().expect("the proxy's state");
        let gathered = if reads_index && state.gathering.contains_key(INDEX_QUERY) { INDEX_QUERY } else { &operation };
        let gathering = state.gathering.get_mut(gathered).filter(|(_, missing)| *missing > 0);
        let barrier = gathering.map(|(barrier, missing)| {
            *missing -= 1;
            barrier.clone()
        });
        (barrier, state.held.get(&operation).cloned())
    };
    if let Some(barrier) = barrier {
        barrier.wait().await;
    }
    if let Some(held) = held {
        // An error: the semaphore is closed.
        let _ = held.acquire().await;
    }
    let mut headers = parts.headers;
    headers.remove("host");
    let request = client.request(parts.method, engine).headers(headers).body(body);
    // In a task of its own: the engine executes the call even if the caller closes the connection.
    let sent = tokio::spawn(async move {
        tokio::time::sleep(slow.mul_f64(rand::random())).await;
        request.send().await
    });
    let answer = sent.await.ok()?.ok()?;
    if fault == Some(Fault::LoseAnswer) {
        // The engine has responded, so it has executed the call.
        return None;
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let body = answer.bytes().await.ok()?;
    if matches!(operation.as_str(), "PutItem" | "TransactWriteItems" | "UpdateItem") {
        let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let tables =
            body["ConsumedCapacity"].as_array().cloned().unwrap_or_else(|| vec![body["ConsumedCapacity"].clone()]);
        let messages = tables.iter().filter(|table| table["TableName"] == super::TABLE);
        let units: f64 = messages.filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        *state.lock().expect("the proxy's state").write_units.entry(operation).or_default() += units;
    }
    if is_read {
        let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let units = answer["ConsumedCapacity"]["CapacityUnits"].as_f64().unwrap_or_default();
        state.lock().expect("the proxy's state").read_units += units;
    }
    response.body(Full::new(body)).ok()
}
