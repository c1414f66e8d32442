//! Limits of concurrent calls. Each concurrent call opens a connection, so without limits a request that reads a list of
//! groups with their messages would open hundreds.
//!
//! A call that exceeds a limit waits. Permits are given in the order of the calls, and a request waits with at most
//! [`CALLS_OF_REQUEST`] of its calls for a permit of the process, so a large request does not delay all others. Queries
//! never have all permits of the process: mutations wait only for each other.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::{Limit, limit_reached};

/// Maximum number of concurrent calls of a request.
pub const CALLS_OF_REQUEST: usize = 16;

/// The calls of all requests.
#[derive(Debug)]
pub struct StoreCalls {
    all: Semaphore,
    /// Those of queries.
    queries: Semaphore,
}

impl StoreCalls {
    /// Allows requests `maximum` concurrent calls. A quarter of them is reserved for mutations.
    pub fn new(maximum: usize) -> Arc<Self> {
        // A semaphore of tokio cannot have more permits.
        let maximum = maximum.min(Semaphore::MAX_PERMITS);
        let queries = maximum - maximum / 4;
        Arc::new(Self { all: Semaphore::new(maximum), queries: Semaphore::new(queries) })
    }

    /// The calls of a query.
    pub fn of_query(self: &Arc<Self>) -> Arc<RequestCalls> {
        self.of_request(true)
    }

    /// The calls of a mutation.
    pub fn of_mutation(self: &Arc<Self>) -> Arc<RequestCalls> {
        self.of_request(false)
    }

    fn of_request(self: &Arc<Self>, is_query: bool) -> Arc<RequestCalls> {
        Arc::new(RequestCalls { process: self.clone(), own: Semaphore::new(CALLS_OF_REQUEST), is_query })
    }
}

/// The calls of one request.
#[derive(Debug)]
pub struct RequestCalls {
    process: Arc<StoreCalls>,
    own: Semaphore,
    is_query: bool,
}

/// Allows one call. The semaphores are never closed, so each permit is there.
#[must_use = "the call must end before its permit is dropped"]
pub(super) struct CallPermit<'a> {
    _own: Option<SemaphorePermit<'a>>,
    _query: Option<SemaphorePermit<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

impl RequestCalls {
    /// Waits until one more call is within the limits.
    pub(super) async fn permit(&self) -> CallPermit<'_> {
        let StoreCalls { all, queries } = &*self.process;
        let own = self.own.acquire().await.ok();
        let query = if self.is_query { of_process(queries).await } else { None };
        CallPermit { _own: own, _query: query, _all: of_process(all).await }
    }
}

async fn of_process(permits: &Semaphore) -> Option<SemaphorePermit<'_>> {
    if let Ok(permit) = permits.try_acquire() {
        return Some(permit);
    }
    limit_reached(Limit::StoreCalls);
    permits.acquire().await.ok()
}
