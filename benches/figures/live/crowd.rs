//! Many clients, each a task.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::socket::{Event, Kind, Protocol, Socket};

/// Maximum number of clients that connect at the same time.
const CONNECTING: usize = 64;

/// What a client will do.
pub struct Client {
    pub protocol: Protocol,
    /// Number of the user, and the user's token.
    pub person: usize,
    pub token: Arc<str>,
    /// The cursor from which it subscribes.
    pub after: Option<String>,
    /// How long it waits before it connects.
    pub wait: Duration,
}

/// A message that a client has received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Number of the client.
    pub client: usize,
    /// Number of the message.
    pub number: u32,
    pub at: Instant,
}

/// Connected clients.
pub struct Crowd {
    tasks: JoinSet<(usize, Option<String>)>,
    shared: Arc<Shared>,
    count: usize,
}

struct Shared {
    address: SocketAddr,
    connecting: Semaphore,
    ready: AtomicUsize,
    received: Mutex<Vec<Received>>,
    /// The first problem of a client.
    problem: Mutex<Option<String>>,
    stop: CancellationToken,
}

impl Crowd {
    /// Connects clients. They are numbered in their order.
    pub fn open(address: SocketAddr, clients: impl IntoIterator<Item = Client>) -> Self {
        let shared = Arc::new(Shared {
            address,
            connecting: Semaphore::new(CONNECTING),
            ready: AtomicUsize::new(0),
            received: Mutex::default(),
            problem: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let shared = shared.clone();
            tasks.spawn(async move { (number, shared.run(number, client).await) });
        }
        Self { count: tasks.len(), tasks, shared }
    }

    /// Waits until all clients have received `FeedReady`. Returns how long that took.
    pub async fn until_ready(&self, deadline: Duration) -> anyhow::Result<Duration> {
        self.until(deadline, "ready clients", self.count, || self.shared.ready.load(Ordering::Relaxed)).await
    }

    /// Waits until `count` messages were received since the last call of [`Self::take`].
    pub async fn until_received(&self, count: usize, deadline: Duration) -> anyhow::Result<Duration> {
        self.until(deadline, "received messages", count, || lock(&self.shared.received).len()).await
    }

    /// What was received since the last call.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut lock(&self.shared.received))
    }

    /// Closes all connections. Returns the last cursor of each client.
    pub async fn close(mut self) -> anyhow::Result<Vec<Option<String>>> {
        self.shared.stop.cancel();
        let mut cursors = vec![None; self.count];
        while let Some(ended) = self.tasks.join_next().await {
            let (number, cursor) = ended?;
            cursors[number] = cursor;
        }
        self.check()?;
        Ok(cursors)
    }

    /// Fails if a client has failed.
    pub fn check(&self) -> anyhow::Result<()> {
        match &*lock(&self.shared.problem) {
            Some(problem) => bail!("a client failed: {problem}"),
            None => Ok(()),
        }
    }

    async fn until(
        &self,
        deadline: Duration,
        what: &str,
        wanted: usize,
        count: impl Fn() -> usize,
    ) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        while count() < wanted {
            self.check()?;
            if begin.elapsed() > deadline {
                bail!("{} of {wanted} {what} after {deadline:?}", count());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(begin.elapsed())
    }
}

impl Shared {
    /// Runs a client until the crowd closes. Returns its last cursor.
    async fn run(&self, number: usize, client: Client) -> Option<String> {
        let mut cursor = client.after.clone();
        let work = async {
            sleep(client.wait).await;
            let permit = self.connecting.acquire().await?;
            let Client { protocol, token, after, .. } = &client;
            let mut socket = Socket::open(*protocol, self.address, token, after.as_deref(), None).await?;
            let mut permit = Some(permit);
            loop {
                let Event { cursor: after, kind } = socket.next().await?.context("closed by the server")?;
                cursor = Some(after);
                match kind {
                    Kind::Ready => {
                        permit.take();
                        self.ready.fetch_add(1, Ordering::Relaxed);
                    }
                    Kind::Message(message) => {
                        let received = Received { client: number, number: message, at: Instant::now() };
                        lock(&self.received).push(received);
                    }
                }
            }
        };
        let ended: Option<anyhow::Result<()>> = self.stop.run_until_cancelled(work).await;
        if let Some(Err(error)) = ended {
            lock(&self.problem).get_or_insert(format!("client {number}: {error:#}"));
        }
        cursor
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
