//! The handle of the table that every access pattern uses.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::capacity::{Consumed, Meter};

/// The messages table at one endpoint. Cheap to clone: clones share the client and the count of consumed capacity.
#[derive(Clone, Debug)]
pub struct MessagesTable {
    pub(super) client: Client,
    pub(super) name: String,
    meter: Arc<Meter>,
}

impl MessagesTable {
    /// The table `name`. Calls go through `client`.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into(), meter: Arc::default() }
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
        self.count_units(operation, capacity.into_iter().filter_map(|table| table.capacity_units).sum());
    }

    /// Adds capacity units that a call of `operation` consumed.
    pub(super) fn count_units(&self, operation: &'static str, units: f64) {
        self.meter.count(operation, units);
    }
}
