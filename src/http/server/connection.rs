//! The state of one connection: its unfinished requests, the bytes that the client has not read, and its time limits.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::peer::Peer;
use crate::config::ConnectionLimits;
use crate::metrics::{self, Limit};

/// How long a connection without a request stays open after the server has begun to close it. An HTTP/2 client may have
/// sent a request before it received the server's GOAWAY frame.
const LINGER: Duration = Duration::from_millis(500);
/// Memory of a response in bytes, without its body: buffers, and the state of an HTTP/2 stream.
const RESPONSE_OVERHEAD: usize = 4 * 1024;

/// A command to the task of a connection. Commands are in ascending order: a command replaces only a lower one.
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
    /// The peer for which the connection counts.
    pub peer: Peer,
    state: Mutex<State>,
    /// Notified each time the command changes.
    changed: Notify,
    /// Bytes that have arrived since the last request was finished.
    received: AtomicUsize,
}

struct State {
    command: Command,
    /// Time at which the command was first set to another one than [`Command::Serve`].
    ending_since: Option<Instant>,
    is_http2: bool,
    /// Whether the connection has had a request.
    has_served: bool,
    /// Whether a handler has taken over the connection, for example for WebSocket.
    is_upgraded: bool,
    /// Whether that handler has accepted the client.
    is_accepted: bool,
    /// The unfinished requests.
    requests: Vec<RequestState>,
    /// Id of the last request.
    next_request: u64,
    /// Time since which the connection has no unfinished request.
    waiting_since: Instant,
    /// Time at which a check first found that a part of a request head had arrived.
    head_since: Option<Instant>,
    /// Time since which the client has accepted none of the bytes that the server wants to write.
    blocked_since: Option<Instant>,
}

/// An unfinished request, and the part of its response that the client has not read.
struct RequestState {
    id: u64,
    /// Number of bytes of the response that are in memory.
    bytes: usize,
    /// Number of these bytes that no part contains yet.
    left: usize,
    /// Number of parts that the server has not finished writing.
    parts: usize,
    /// Whether the server has written a part of the response, and no further one is left.
    is_written: bool,
    /// Whether the request was rejected, and the server only discards the rest of its body.
    is_rejected: bool,
    /// Time at which the client last read a part. Before that, the time at which the server began to write the first part.
    since: Instant,
}

/// The client of a request. It is in the extensions of each request, and the request is unfinished as long as a clone
/// of it exists.
#[derive(Clone)]
pub struct Client {
    /// The IP address at the other end of the connection. It can be that of a proxy.
    pub address: IpAddr,
    request: Unfinished,
}

/// A message that the server is sending.
pub struct Sending(Unfinished);

/// A request is unfinished until all clones of this value are dropped.
#[derive(Clone)]
pub struct Unfinished(Arc<UnfinishedRequest>);

struct UnfinishedRequest {
    connection: Arc<Connection>,
    id: u64,
}

/// Memory that a connection occupies because its client is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Number of bytes.
    pub bytes: usize,
    /// Time since which the connection has occupied the memory.
    pub since: Instant,
}

impl Connection {
    /// Creates the state of a connection that has just been accepted.
    pub fn new(peer: Peer, now: Instant) -> Arc<Self> {
        let state = State {
            command: Command::Serve,
            ending_since: None,
            is_http2: false,
            has_served: false,
            is_upgraded: false,
            is_accepted: false,
            requests: Vec::new(),
            next_request: 0,
            waiting_since: now,
            head_since: None,
            blocked_since: None,
        };
        Arc::new(Self { peer, state: Mutex::new(state), changed: Notify::new(), received: AtomicUsize::new(0) })
    }

    /// Waits for a command that is higher than `last`.
    pub async fn commanded(&self, last: Command) -> Command {
        loop {
            // Created before the command is read, so that it is notified of each change after the read.
            let changed = self.changed.notified();
            let command = self.lock().command;
            if command > last {
                return command;
            }
            changed.await;
        }
    }

    /// Sets the command, unless it is already the same or a higher one. `limit` is the limit that the connection exceeds; `None`
    /// if the server shuts down or needs the connection for others.
    pub fn command(&self, command: Command, limit: Option<Limit>, now: Instant) {
        self.lock().command(command, limit, now, &self.changed);
    }

    /// Registers the start of a request.
    pub fn begin_request(self: &Arc<Self>, is_http2: bool) -> Unfinished {
        let id = {
            let mut state = self.lock();
            state.is_http2 = is_http2;
            state.has_served = true;
            state.head_since = None;
            state.next_request += 1;
            let id = state.next_request;
            state.requests.push(RequestState {
                id,
                bytes: 0,
                left: 0,
                parts: 0,
                is_written: false,
                is_rejected: false,
                since: Instant::now(),
            });
            id
        };
        Unfinished(Arc::new(UnfinishedRequest { connection: self.clone(), id }))
    }

    /// Registers that HTTP has ended on the connection. If the connection is still open, a handler has taken it over
    /// and must apply its own time limits.
    pub fn end_http(&self) {
        self.lock().is_upgraded = true;
    }

    /// Counts bytes that have arrived.
    pub fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Registers that the client accepts no bytes from now on (`is_blocked`), or that it accepts bytes again.
    pub fn blocked(&self, is_blocked: bool) {
        self.lock().blocked_since = is_blocked.then(Instant::now);
    }

    /// Sets the command that the time limits require at the time `now`.
    pub fn check(&self, limits: &ConnectionLimits, now: Instant) {
        let mut state = self.lock();
        let has_received = self.received.load(Ordering::Relaxed) > 0;
        if let Some((command, limit)) = state.due(has_received, limits, now) {
            state.command(command, limit, now, &self.changed);
        }
    }

    /// Returns the memory of the responses that the client has not read, or `None` if there is none.
    pub fn unread(&self) -> Option<Held> {
        let state = self.lock();
        let unread = state.requests.iter().filter(|request| request.bytes > 0);
        let bytes = unread.clone().map(|request| request.bytes + RESPONSE_OVERHEAD).sum();
        let since = unread.map(|request| request.since).min()?;
        (state.command < Command::Close).then_some(Held { bytes, since })
    }

    /// Returns the memory of an incomplete request head, or `None` if there is none.
    pub fn head(&self) -> Option<Held> {
        let state = self.lock();
        let is_head = !state.is_busy() && !state.is_http2 && state.command < Command::Close;
        let bytes = self.received.load(Ordering::Relaxed);
        (is_head && bytes > 0).then_some(Held { bytes, since: state.head_since.unwrap_or(state.waiting_since) })
    }

    /// If the connection waits for a request, returns whether it has had a request before, and the time since which it waits.
    /// A connection also counts as waiting if all its requests were rejected and got their responses. A connection that a handler
    /// has taken over counts as waiting until the handler accepts its client.
    pub fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.lock();
        let is_waiting = if state.is_upgraded {
            !state.is_accepted
        } else {
            state.requests.iter().all(|request| request.is_rejected && request.is_written)
        };
        is_waiting.then_some((state.has_served, state.waiting_since))
    }

    /// Whether the client accepts none of the bytes that the server wants to write.
    pub fn is_blocked(&self) -> bool {
        self.lock().blocked_since.is_some()
    }

    /// Waits until the connection must be closed.
    pub async fn closed(&self) {
        let mut command = Command::Serve;
        while command < Command::Close {
            command = self.commanded(command).await;
        }
    }

    fn end_request(&self, id: u64) {
        let mut state = self.lock();
        state.requests.retain(|request| request.id != id);
        state.waiting_since = Instant::now();
        // The bytes that have arrived so far count as bytes of this request.
        self.received.store(0, Ordering::Relaxed);
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
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

    /// Returns the command that a time limit requires, and the limit. `None` if no limit is exceeded.
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
            // A proxy can send requests of several users on one HTTP/2 connection. So the connection is closed only when no
            // other request is left, or after a second timeout.
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
        // On an HTTP/2 connection, bytes that are not part of a head can arrive at any time.
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
    /// Creates the client of `request`, with the IP address of the other end of the connection.
    pub fn new(address: IpAddr, request: Unfinished) -> Self {
        Self { address: address.to_canonical(), request }
    }

    /// Registers that the handler that has taken over the connection accepts the client. Before that, the connection can be
    /// evicted.
    pub fn accepted(&self) {
        self.request.0.connection.lock().is_accepted = true;
    }

    /// Registers that the request was rejected, and that the server only discards the rest of its body. The connection can be
    /// evicted then.
    pub fn rejected(&self) {
        let mut state = self.request.0.connection.lock();
        if let Some(request) = state.request(self.request.0.id) {
            request.is_rejected = true;
        }
        state.waiting_since = Instant::now();
    }

    /// Registers a message of `bytes` bytes that the handler of a taken-over connection sends. Its bytes count as not read by the
    /// client until the returned value is dropped.
    pub fn sending(&self, bytes: usize) -> Sending {
        self.request.begin_part(bytes, bytes);
        Sending(self.request.clone())
    }

    /// Waits until the server needs the connection for another client or must close it for another reason.
    pub async fn evicted(&self) {
        self.request.0.connection.closed().await;
    }
}

impl Unfinished {
    /// Registers that the server has read `taken` more bytes of the body and offers the client a part of `part` bytes.
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

    /// Registers that the server has written a part.
    pub fn end_part(&self) {
        let mut state = self.0.connection.lock();
        let Some(request) = state.request(self.0.id) else { return };
        request.parts = request.parts.saturating_sub(1);
        request.since = Instant::now();
        request.is_written = request.parts == 0 && request.left == 0;
        if request.is_written {
            request.bytes = 0;
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.end_part();
    }
}

impl Drop for UnfinishedRequest {
    fn drop(&mut self) {
        self.connection.end_request(self.id);
    }
}
