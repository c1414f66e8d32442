//! Limits the requests that are being received: their bodies are incomplete, or their tokens are not verified yet. A
//! client controls how long receiving takes, so these requests hold no concurrency permit. Instead, each of them holds
//! a place. A new request always gets a place. If its peer has the maximum number of requests, the server takes the place
//! of the oldest of these. If no place is free, it takes the place of the oldest request of the peer with the most
//! requests. This also works if several users share the address of a proxy, because a fast request leaves its place
//! before it becomes the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::server::Peer;
use crate::config::ConnectionLimits;
use crate::metrics::{self, Limit};

/// The places of all requests, and their limits.
pub struct Receiving {
    requests: usize,
    per_peer: usize,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    requests: usize,
    bytes: usize,
    /// The requests of each peer, oldest first.
    peers: HashMap<Peer, BTreeMap<u64, Incomplete>>,
}

struct Incomplete {
    bytes: usize,
    /// Dropping it notifies the request that it has lost its place.
    _keep: oneshot::Sender<Infallible>,
}

/// The place of a request. Dropping it frees the place.
pub struct Place<'a> {
    receiving: &'a Receiving,
    peer: Peer,
    id: u64,
}

/// Resolves when a request loses its place.
pub struct Lost(oneshot::Receiver<Infallible>);

impl Lost {
    /// Resolves when the request loses its place.
    pub async fn lost(self) {
        // Nothing is ever sent; the sender is dropped.
        let _ = self.0.await;
    }
}

impl Receiving {
    /// Creates the places. All of them are free.
    pub fn new(limits: &ConnectionLimits) -> Self {
        let ConnectionLimits { receiving, receiving_per_peer, receiving_bytes, .. } = *limits;
        Self { requests: receiving, per_peer: receiving_per_peer, bytes: receiving_bytes, state: Mutex::default() }
    }

    /// Gives a place to a new request of `peer`. If there are too many requests, another one loses its place.
    pub fn enter(&self, peer: Peer) -> (Place<'_>, Lost) {
        let mut state = self.lock();
        if state.peers.get(&peer).is_some_and(|requests| requests.len() >= self.per_peer) {
            metrics::limit_reached(Limit::RequestsReceivingPerPeer);
            let slowest = state.slowest_of(peer);
            state.evict(slowest);
        } else if state.requests >= self.requests {
            metrics::limit_reached(Limit::RequestsReceiving);
            let slowest = state.slowest();
            state.evict(slowest);
        }
        let (keep, lost) = oneshot::channel();
        state.next += 1;
        let id = state.next;
        state.requests += 1;
        state.peers.entry(peer).or_default().insert(id, Incomplete { bytes: 0, _keep: keep });
        (Place { receiving: self, peer, id }, Lost(lost))
    }

    /// Returns the number of requests that hold places.
    pub fn count(&self) -> usize {
        self.lock().requests
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, peer: Peer, id: u64) {
        let Some(requests) = self.peers.get_mut(&peer) else { return };
        if let Some(removed) = requests.remove(&id) {
            self.requests -= 1;
            self.bytes -= removed.bytes;
        }
        if requests.is_empty() {
            self.peers.remove(&peer);
        }
    }

    fn evict(&mut self, request: Option<(Peer, u64)>) {
        if let Some((peer, id)) = request {
            self.remove(peer, id);
        }
    }

    /// Returns the oldest request of a peer.
    fn slowest_of(&self, peer: Peer) -> Option<(Peer, u64)> {
        self.peers.get(&peer)?.first_key_value().map(|(id, _)| (peer, *id))
    }

    /// Returns the oldest request of the peer with the most requests.
    fn slowest(&self) -> Option<(Peer, u64)> {
        let oldest = |requests: &BTreeMap<u64, _>| Reverse(requests.first_key_value().map(|(id, _)| *id));
        let (peer, _) = self.peers.iter().max_by_key(|(_, requests)| (requests.len(), oldest(requests)))?;
        self.slowest_of(*peer)
    }

    /// Returns the oldest request of which a part of the body has arrived.
    fn slowest_body(&self) -> Option<(Peer, u64)> {
        let oldest = |requests: &BTreeMap<u64, Incomplete>| {
            requests.iter().find(|(_, request)| request.bytes > 0).map(|(id, _)| *id)
        };
        let bodies = self.peers.iter().filter_map(|(peer, requests)| Some((*peer, oldest(requests)?)));
        bodies.min_by_key(|(_, id)| *id)
    }
}

impl Place<'_> {
    /// Counts `bytes` of the body that have arrived. If there are too many bytes of all requests, those with the oldest bodies
    /// lose their places. This request can be one of them.
    pub fn received(&self, bytes: usize) {
        let mut state = self.receiving.lock();
        if state.bytes + bytes > self.receiving.bytes {
            metrics::limit_reached(Limit::ReceivingBytes);
        }
        while state.bytes + bytes > self.receiving.bytes
            && let Some(slowest) = state.slowest_body()
        {
            state.evict(Some(slowest));
        }
        if let Some(request) = state.peers.get_mut(&self.peer).and_then(|requests| requests.get_mut(&self.id)) {
            request.bytes += bytes;
            state.bytes += bytes;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.receiving.lock().remove(self.peer, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_bodies_lose_their_places_to_one_long_body() {
        let limits = ConnectionLimits { receiving_bytes: 100, ..ConnectionLimits::DEFAULT };
        let receiving = Receiving::new(&limits);
        let peer = Peer::of("192.0.2.1".parse().expect("an address"));
        let short: Vec<_> = (0..50).map(|_| receiving.enter(peer)).collect();
        short.iter().for_each(|(place, _)| place.received(1));
        let (long, _lost) = receiving.enter(peer);
        long.received(60);
        assert_eq!((receiving.count(), receiving.lock().bytes), (41, 100));
        long.received(60);
        assert_eq!((receiving.count(), receiving.lock().bytes), (0, 0), "it is too long itself");
    }
}
