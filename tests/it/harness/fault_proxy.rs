//! Stands between the SDK and the engine: counts calls, and loses answers after the engine has done its work.

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
use tokio::net::TcpListener;
use tokio::sync::Barrier;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The engine does it, and the connection is cut before the answer.
    LoseAnswer,
    /// The engine never sees it; this status and error code are the answer.
    Answer(u16, &'static str),
    /// Likewise, with this status and body.
    Body(u16, &'static str),
}

/// Under which name Queries of the index are counted, beside counting as Queries.
pub const INDEX_QUERY: &str = "Query of the index";

#[derive(Default)]
struct State {
    /// Whether every call's connection is cut before the engine sees it.
    is_cut: bool,
    /// How long a call waits before the engine sees it, each another time up to this.
    slow: Duration,
    calls: HashMap<String, usize>,
    /// Reads of the table that may lag behind a write; the engine in process never lags, DynamoDB does.
    lagging_reads: usize,
    /// For an operation, what happens to its next calls in turn.
    faults: HashMap<String, Vec<Fault>>,
    /// For an operation, where its next calls wait for each other, and how many of them are still to come.
    gathering: HashMap<String, (Arc<Barrier>, usize)>,
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

    /// What happens to the next calls of `operation`, in turn.
    pub fn next(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(operation.to_owned()).or_default().extend(faults);
    }

    /// Cuts every connection from now on, or lets calls through again.
    pub fn cut(&self, cut: bool) {
        self.lock().is_cut = cut;
    }

    /// Makes every call wait before the engine sees it, each another time up to `most`.
    pub fn slow(&self, most: Duration) {
        self.lock().slow = most;
    }

    /// Takes back what was to happen to `operation`.
    pub fn forget(&self, operation: &str) {
        self.lock().faults.remove(operation);
    }

    /// The next `count` calls of `operation` reach the engine only when all of them have come: a race that is sure.
    pub fn gather(&self, operation: &str, count: usize) {
        self.lock().gathering.insert(operation.to_owned(), (Arc::new(Barrier::new(count)), count));
    }

    /// Whether every fault has happened.
    pub fn is_spent(&self) -> bool {
        self.lock().faults.values().all(Vec::is_empty)
    }

    /// How often `operation` was called so far.
    pub fn calls(&self, operation: &str) -> usize {
        self.lock().calls.get(operation).copied().unwrap_or_default()
    }

    /// How many reads of the table, not of its index, did not ask for strong consistency.
    pub fn lagging_reads(&self) -> usize {
        self.lock().lagging_reads
    }

    /// How often anything was called so far.
    pub fn all_calls(&self) -> usize {
        self.lock().calls.values().sum()
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
    let (parts, body) = request.into_parts();
    let target = parts.headers.get("x-amz-target").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let (fault, slow) = {
        let mut state = state.lock().expect("the proxy's state");
        *state.calls.entry(operation.clone()).or_default() += 1;
        if state.is_cut {
            return None;
        }
        let faults = state.faults.get_mut(&operation).filter(|faults| !faults.is_empty());
        (faults.map(|faults| faults.remove(0)), state.slow)
    };
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
    let barrier = {
        let mut state = state.lock().expect("the proxy's state");
        let gathering = state.gathering.get_mut(&operation).filter(|(_, missing)| *missing > 0);
        gathering.map(|(barrier, missing)| {
            *missing -= 1;
            barrier.clone()
        })
    };
    if let Some(barrier) = barrier {
        barrier.wait().await;
    }
    let body = body.collect().await.ok()?.to_bytes();
    if matches!(operation.as_str(), "Query" | "GetItem") {
        let asked: serde_json::Value = serde_json::from_slice(&body).ok()?;
        let mut state = state.lock().expect("the proxy's state");
        if asked.get("IndexName").is_some() {
            *state.calls.entry(INDEX_QUERY.to_owned()).or_default() += 1;
        } else if asked["ConsistentRead"] != true {
            state.lagging_reads += 1;
        }
    }
    let mut headers = parts.headers;
    headers.remove("host");
    let request = client.request(parts.method, engine).headers(headers).body(body);
    // Of its own: the engine does what was sent, however soon whoever sent it hangs up.
    let sent = tokio::spawn(async move {
        tokio::time::sleep(slow.mul_f64(rand::random())).await;
        request.send().await
    });
    let answer = sent.await.ok()?.ok()?;
    if fault == Some(Fault::LoseAnswer) {
        // The engine has answered, so it has done its work.
        return None;
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.bytes().await.ok()?)).ok()
}
