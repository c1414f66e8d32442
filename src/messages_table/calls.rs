//! Limits the number of concurrent calls to DynamoDB. Each concurrent call needs a connection, so without limits a
//! request that reads a list of groups with their messages would open hundreds of connections.
//!
//! A call that exceeds a limit waits. Calls get permits in the order in which they arrive. At most [`CALLS_OF_REQUEST`]
//! calls of a request hold or wait for a permit of the process, so a large request does not delay all others. A part of the
//! permits is reserved for mutations, so that mutations do not have to wait for queries.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::{Limit, limit_reached};

/// Maximum number of concurrent calls of a request.
pub const CALLS_OF_REQUEST: usize = 16;

/// The permits for the calls of all requests.
#[derive(Debug)]
pub struct StoreCalls {
    /// Permits for all calls.
    all: Semaphore,
    /// Permits for calls of queries. Such a call needs a permit of `all` too.
    queries: Semaphore,
}

impl StoreCalls {
    /// Allows `maximum` concurrent calls. A quarter of the permits is reserved for mutations.
    pub fn new(maximum: usize) -> Arc<Self> {
        // tokio panics if a semaphore has more than `MAX_PERMITS`.
        let maximum = maximum.min(Semaphore::MAX_PERMITS);
        let queries = maximum - maximum / 4;
        Arc::new(Self { all: Semaphore::new(maximum), queries: Semaphore::new(queries) })
    }

    /// Returns the permits for the calls of one query.
    pub fn of_query(self: &Arc<Self>) -> Arc<RequestCalls> {
        self.of_request(true)
    }

    /// Returns the permits for the calls of one mutation.
    pub fn of_mutation(self: &Arc<Self>) -> Arc<RequestCalls> {
        self.of_request(false)
    }

    fn of_request(self: &Arc<Self>, is_query: bool) -> Arc<RequestCalls> {
        Arc::new(RequestCalls { process: self.clone(), own: Semaphore::new(CALLS_OF_REQUEST), is_query })
    }
}

/// The permits for the calls of one request.
#[derive(Debug)]
pub struct RequestCalls {
    process: Arc<StoreCalls>,
    own: Semaphore,
    is_query: bool,
}

/// Permission for one call. Only calls of queries have the permit `_query`. The semaphores are never closed, so
/// acquiring the other permits never fails.
#[must_use = "the call must end before its permit is dropped"]
pub(super) struct CallPermit<'a> {
    _own: Option<SemaphorePermit<'a>>,
    _query: Option<SemaphorePermit<'a>>,
    _all: Option<SemaphorePermit<'a>>,
}

impl RequestCalls {
    /// Waits until the limits allow one more call.
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
