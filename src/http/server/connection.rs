//! One connection: its unfinished requests, what the client has not read, and which time limit it has exceeded.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::peer::Peer;
use crate::config::ConnectionLimits;
use crate::metrics::{self, Limit};

/// How long a connection without a request stays open after it was told to end. An HTTP/2 client can still send a request that
/// crossed the message.
const LINGER: Duration = Duration::from_millis(500);
/// Memory of a response besides its bytes: buffers, and the state of an HTTP/2 stream.
const RESPONSE_OVERHEAD: usize = 4 * 1024;

/// What the task of a connection must do. Only a later one replaces an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Serve requests.
    Serve,
    /// Finish the current requests and accept no further ones.
    Drain,
    /// Close the connection at once.
    Close,
}

/// An open connection.
pub struct Connection {
    /// The peer that the connection counts for.
    pub peer: Peer,
    state: Mutex<State>,
    /// Notified of each new command.
    changed: Notify,
    /// Bytes that have arrived since the last request was finished.
    received: AtomicUsize,
}

struct State {
    command: Command,
    /// Since when there is another command than to serve.
    ending_since: Option<Instant>,
    is_http2: bool,
    has_served: bool,
    /// Whether a handler has taken the connection over, for WebSocket.
    is_upgraded: bool,
    requests: Vec<RequestState>,
    next_request: u64,
    /// Since when there is no unfinished request.
    waiting_since: Instant,
    /// When the check first found a part of a head.
    head_since: Option<Instant>,
    /// Since when the client has accepted no bytes that the server wants to write.
    blocked_since: Option<Instant>,
}

/// An unfinished request, and what the client has not read of its response.
struct RequestState {
    id: u64,
    /// Bytes of the response that are in memory.
    bytes: usize,
    /// Those of them that are in no part yet.
    left: usize,
    /// Number of parts that are not written.
    parts: usize,
    /// When the client last read a part, or when it was offered the first one.
    since: Instant,
}

/// The client of a request; in the extensions of each request. Keeps the request unfinished.
#[derive(Clone)]
pub struct Client {
    /// The IP address at the other end of the connection. It can be that of a proxy.
    pub address: IpAddr,
    _request: Unfinished,
}

/// A request is unfinished until all clones of this value are dropped.
#[derive(Clone)]
pub struct Unfinished(Arc<UnfinishedRequest>);

struct UnfinishedRequest {
    connection: Arc<Connection>,
    id: u64,
}

/// The memory that a connection takes because its client is slow, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub bytes: usize,
    pub since: Instant,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(peer: Peer, now: Instant) -> Arc<Self> {
        let state = State {
            command: Command::Serve,
            ending_since: None,
            is_http2: false,
            has_served: false,
            is_upgraded: false,
            requests: Vec::new(),
            next_request: 0,
            waiting_since: now,
            head_since: None,
            blocked_since: None,
        };
        Arc::new(Self { peer, state: Mutex::new(state), changed: Notify::new(), received: AtomicUsize::new(0) })
    }

    /// Waits for a command that comes after `last`.
    pub async fn commanded(&self, last: Command) -> Command {
        loop {
            // Created before the command is read, so that it sees each change after that.
            let changed = self.changed.notified();
            let command = self.lock().command;
            if command > last {
                return command;
            }
            changed.await;
        }
    }

    /// Gives a command because of a limit, or because the server stops.
    pub fn command(&self, command: Command, limit: Option<Limit>, now: Instant) {
        self.lock().command(command, limit, now, &self.changed);
    }

    /// A request starts.
    pub fn begin_request(self: &Arc<Self>, is_http2: bool) -> Unfinished {
        let id = {
            let mut state = self.lock();
            state.is_http2 = is_http2;
            state.has_served = true;
            state.head_since = None;
            state.next_request += 1;
            let id = state.next_request;
            state.requests.push(RequestState { id, bytes: 0, left: 0, parts: 0, since: Instant::now() });
            id
        };
        Unfinished(Arc::new(UnfinishedRequest { connection: self.clone(), id }))
    }

    /// HTTP ends on the connection. If it is open nevertheless, a handler has taken it over, and has time limits of its own.
    pub fn end_http(&self) {
        self.lock().is_upgraded = true;
    }

    /// Bytes have arrived.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The client accepts no bytes from now on, or accepts them again.
    pub fn blocked(&self, is_blocked: bool) {
        self.lock().blocked_since = is_blocked.then(Instant::now);
    }

    /// Applies the time limits.
    pub fn check(&self, limits: &ConnectionLimits, now: Instant) {
        let mut state = self.lock();
        let has_received = self.received.load(Ordering::Relaxed) > 0;
        if let Some((command, limit)) = state.due(has_received, limits, now) {
            state.command(command, limit, now, &self.changed);
        }
    }

    /// What the client has not read of its responses.
    pub fn unread(&self) -> Option<Held> {
        let state = self.lock();
        let unread = state.requests.iter().filter(|request| request.bytes > 0);
        let bytes = unread.clone().map(|request| request.bytes + RESPONSE_OVERHEAD).sum();
        let since = unread.map(|request| request.since).min()?;
        (state.command < Command::Close).then_some(Held { bytes, since })
    }

    /// The part of a head that has arrived.
    pub fn head(&self) -> Option<Held> {
        let state = self.lock();
        let is_head = !state.is_busy() && !state.is_http2 && state.command < Command::Close;
        let bytes = self.received.load(Ordering::Relaxed);
        (is_head && bytes > 0).then_some(Held { bytes, since: state.head_since.unwrap_or(state.waiting_since) })
    }

    /// If the connection waits for a request: whether it has had one, and since when it waits.
    pub fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        (!state.is_busy()).then_some((state.has_served, state.waiting_since))
    }

    fn end_request(&self, id: u64) {
        let mut state = self.lock();
        state.requests.retain(|request| request.id != id);
        state.waiting_since = Instant::now();
        // What has arrived belongs to this request.
        self.received.store(0, Ordering::Relaxed);
    }

    /// A panic while the lock is held leaves no half-done change behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn command(&mut self, command: Command, limit: Option<Limit>, now: Instant, changed: &Notify) {
        if command <= self.command {
            return;
        }
        if let Some(limit) = limit.filter(|_| self.command == Command::Serve) {
            metrics::limit_reached(limit);
        }
        self.command = command;
        self.ending_since.get_or_insert(now);
        changed.notify_waiters();
    }

    /// The command that is due because of a time limit.
    fn due(&mut self, has_received: bool, limits: &ConnectionLimits, now: Instant) -> Option<(Command, Option<Limit>)> {
        let is_over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self.is_upgraded {
            return None;
        }
        let timeout = limits.write_timeout();
        if self.blocked_since.is_some_and(|since| is_over(since, timeout)) {
            return Some((Command::Close, Some(Limit::WriteTimeout)));
        }
        let unread = self.requests.iter().filter(|request| request.parts > 0);
        let stalled = unread.clone().filter(|request| is_over(request.since, timeout)).count();
        if stalled > 0 {
            // A proxy can send requests of several users on one HTTP/2 connection: the others are finished, for a while.
            let is_last = stalled == self.requests.len() || unread.clone().any(|it| is_over(it.since, 2 * timeout));
            let command = if is_last { Command::Close } else { Command::Drain };
            return Some((command, Some(Limit::WriteTimeout)));
        }
        if self.is_busy() {
            return None;
        }
        if self.ending_since.is_some_and(|since| is_over(since, LINGER)) {
            return Some((Command::Close, None));
        }
        // On an HTTP/2 connection, other bytes than those of a head arrive at any time.
        if has_received && !self.is_http2 {
            self.head_since.get_or_insert(now);
        }
        let head_since = if self.has_served { self.head_since } else { Some(self.waiting_since) };
        if head_since.is_some_and(|since| is_over(since, limits.header_timeout())) {
            return Some((Command::Close, Some(Limit::HeaderTimeout)));
        }
        is_over(self.waiting_since, limits.idle_timeout()).then_some((Command::Drain, Some(Limit::IdleTimeout)))
    }

    fn is_busy(&self) -> bool {
        self.is_upgraded || !self.requests.is_empty()
    }

    fn request(&mut self, id: u64) -> Option<&mut RequestState> {
        self.requests.iter_mut().find(|request| request.id == id)
    }
}

impl Client {
    /// The client with this address that has sent `request`.
    pub fn new(address: IpAddr, request: Unfinished) -> Self {
        Self { address: address.to_canonical(), _request: request }
    }
}

impl Unfinished {
    /// The server offers the client the next `part` bytes, after it has taken `taken` more bytes of the body.
    pub fn begin_part(&self, taken: usize, part: usize) {
        let mut state = self.0.connection.lock();
        let Some(request) = state.request(self.0.id) else { return };
        request.bytes += taken;
        request.left = (request.left + taken).saturating_sub(part);
        if request.parts == 0 {
            request.since = Instant::now();
        }
        request.parts += 1;
    }

    /// A part is written.
    pub fn end_part(&self) {
        let mut state = self.0.connection.lock();
        let Some(request) = state.request(self.0.id) else { return };
        request.parts = request.parts.saturating_sub(1);
        request.since = Instant::now();
        if request.parts == 0 && request.left == 0 {
            request.bytes = 0;
        }
    }
}

impl Drop for UnfinishedRequest {
    fn drop(&mut self) {
        self.connection.end_request(self.id);
    }
}
