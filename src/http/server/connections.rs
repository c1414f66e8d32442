//! The open connections, and the limits of their number and of the memory that slow clients occupy.
//! [`Connections::sweep`] checks all connections several times per second, because a timer for each connection would cost
//! more.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Command, Connection, Held};
use super::peer::Peer;
use crate::config::ConnectionLimits;
use crate::metrics::{self, Limit};

/// If there are too many connections, the server closes one of every `CLOSED_PART` connections at once, so that it rarely
/// has to search for connections to close.
const CLOSED_PART: usize = 64;

/// All open connections.
pub struct Connections {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Arc<Connection>>,
}

/// The registration of a connection in [`Connections`]. Dropping it removes the connection.
pub struct Registered {
    all: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
}

impl Connections {
    /// Creates an empty set of connections.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Returns the maximum number of concurrent requests of an HTTP/2 connection.
    pub fn streams(&self) -> u32 {
        self.limits.streams
    }

    /// Returns the maximum time for which a client may read nothing of a response.
    pub fn write_timeout(&self) -> Duration {
        self.limits.write_timeout()
    }

    /// Registers a new connection. If there are too many connections, closes some that wait for a request, beginning
    /// with the peer that has the most connections. Of its connections, it first closes those that have never had a
    /// request, and then those that have waited longest. If no connection waits for a request, returns `None`, and the caller
    /// must close the new connection.
    pub fn admit(self: &Arc<Self>, peer: Peer, now: Instant) -> Option<Registered> {
        let mut open = self.lock();
        if open.by_id.len() >= self.limits.connections {
            metrics::limit_reached(Limit::Connections);
            if !open.close_waiting(now) {
                return None;
            }
        }
        open.next += 1;
        let (id, connection) = (open.next, Connection::new(peer, now));
        open.by_id.insert(id, connection.clone());
        Some(Registered { all: self.clone(), id, connection })
    }

    /// Applies the time limits of the connections, and the limits of the memory that slow clients occupy.
    pub fn sweep(&self, now: Instant) {
        let open = self.lock();
        for connection in open.by_id.values() {
            connection.check(&self.limits, now);
        }
        open.release(Connection::unread, self.limits.unread_bytes, Limit::UnreadBytes, now);
        open.release(Connection::head, self.limits.receiving_bytes, Limit::ReceivingBytes, now);
    }

    /// Tells all connections to finish their requests and to accept no further ones.
    pub fn drain(&self, now: Instant) {
        for connection in self.lock().by_id.values() {
            connection.command(Command::Drain, None, now);
        }
    }

    /// Returns the number of connections, and the number of those that wait for a request.
    pub fn count(&self) -> (usize, usize) {
        let open = self.lock();
        let waiting = open.by_id.values().filter(|connection| connection.waiting().is_some());
        (open.by_id.len(), waiting.count())
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes connections that wait for a request. Returns `false` if there is none.
    fn close_waiting(&mut self, now: Instant) -> bool {
        let mut peers: HashMap<Peer, usize> = HashMap::new();
        for connection in self.by_id.values() {
            *peers.entry(connection.peer).or_default() += 1;
        }
        let mut waiting: Vec<_> = self
            .by_id
            .iter()
            .filter_map(|(id, connection)| {
                let of_peer = peers.get(&connection.peer).copied().unwrap_or_default();
                Some((Reverse(of_peer), connection.waiting()?, *id))
            })
            .collect();
        waiting.sort_unstable();
        waiting.truncate(self.by_id.len().div_ceil(CLOSED_PART));
        for (_, _, id) in &waiting {
            // The connection is removed at once, although its task has not ended yet.
            if let Some(connection) = self.by_id.remove(id) {
                connection.command(Command::Close, None, now);
            }
        }
        !waiting.is_empty()
    }

    /// Closes the connections that have held memory longest, until the other connections together hold at most `maximum`
    /// bytes.
    fn release(&self, held: impl Fn(&Connection) -> Option<Held>, maximum: usize, limit: Limit, now: Instant) {
        let holders = || self.by_id.values().filter_map(|connection| Some((held(connection)?, connection)));
        let bytes: usize = holders().map(|(held, _)| held.bytes).sum();
        let Some(mut excess) = bytes.checked_sub(maximum).filter(|excess| *excess > 0) else { return };
        let mut holders: Vec<_> = holders().collect();
        holders.sort_by_key(|(held, _)| held.since);
        for (held, connection) in holders {
            connection.command(Command::Close, Some(limit), now);
            match excess.checked_sub(held.bytes) {
                Some(rest) if rest > 0 => excess = rest,
                _ => return,
            }
        }
    }
}

impl Registered {
    /// See [`Connections::write_timeout`].
    pub fn write_timeout(&self) -> Duration {
        self.all.write_timeout()
    }

    /// Returns the connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.all.lock().by_id.remove(&self.id);
    }
}
