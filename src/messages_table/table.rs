//! The handle of the messages table, which all access patterns use.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::calls::{CallPermit, RequestCalls};
use super::capacity::{Consumed, Meter};
use super::legacy_cache::LegacyCache;
use crate::metrics::Target;

/// The messages table at one endpoint. Cheap to clone: clones share the client, the count of consumed capacity, and the cache
/// of legacy groups.
#[derive(Clone, Debug)]
pub struct MessagesTable {
    pub(super) client: Client,
    pub(super) name: String,
    meter: Arc<Meter>,
    /// The cache of legacy groups.
    pub(super) legacy: Arc<LegacyCache>,
    /// The permits of the request that makes the calls. `None` for calls of the consumer and of commands, which are not limited
    /// here.
    calls: Option<Arc<RequestCalls>>,
}

impl MessagesTable {
    /// The table `name`. Calls go through `client`.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
            meter: Arc::new(Meter::new(Target::Messages)),
            legacy: Arc::new(LegacyCache::new(None)),
            calls: None,
        }
    }

    /// Sets the maximum number of read units for reading the list of one user. If a list needs more, calls fail with
    /// [`TableError::ListTooLong`](super::TableError::ListTooLong). By default there is no limit.
    #[must_use]
    pub fn with_max_legacy_read_units(self, read_units: u32) -> Self {
        Self { legacy: Arc::new(LegacyCache::new(Some(read_units))), ..self }
    }

    /// Returns the same table for one request, with the limits of its calls.
    #[must_use]
    pub fn for_request(&self, calls: Arc<RequestCalls>) -> Self {
        Self { calls: Some(calls), ..self.clone() }
    }

    /// Waits until the limits allow one more call. The caller must keep the permit until the call ends.
    pub(super) async fn permit(&self) -> Option<CallPermit<'_>> {
        match &self.calls {
            Some(calls) => Some(calls.permit().await),
            None => None,
        }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Capacity units that this table and its clones have consumed so far.
    pub fn consumed(&self) -> Consumed {
        self.meter.consumed()
    }

    /// Adds the capacity that a response reports.
    pub(super) fn count<'a>(&self, operation: &'static str, capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.meter.count(operation, capacity);
    }

    /// Adds capacity units that a call of `operation` consumed.
    pub(super) fn count_units(&self, operation: &'static str, units: f64) {
        self.meter.count_units(operation, units);
    }
}
