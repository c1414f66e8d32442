//! What calls cost, as DynamoDB says in its answers.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::MessagesTable;
use crate::metrics;

/// Capacity units consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
}

/// Counts what one [`MessagesTable`] and its clones consume, in halves of a unit: nothing costs less.
#[derive(Debug, Default)]
pub(super) struct Meter {
    read: AtomicU64,
    write: AtomicU64,
}

impl MessagesTable {
    /// What this table and its clones have consumed so far.
    pub fn consumed(&self) -> Consumed {
        let units = |halves: &AtomicU64| halves.load(Ordering::Relaxed) as f64 / 2.0;
        Consumed { read: units(&self.meter.read), write: units(&self.meter.write) }
    }

    /// Counts what a call of `operation` says it has consumed.
    pub(super) fn count<'a>(&self, operation: &'static str, capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.count_units(operation, capacity.into_iter().filter_map(|it| it.capacity_units).sum());
    }

    /// Counts a call of `operation` that has consumed `units`.
    pub(super) fn count_units(&self, operation: &'static str, units: f64) {
        // Never negative, and far below what an integer holds.
        let halves = (units * 2.0).round() as u64;
        let reads = matches!(operation, "GetItem" | "Query" | "Scan");
        let meter = if reads { &self.meter.read } else { &self.meter.write };
        meter.fetch_add(halves, Ordering::Relaxed);
        metrics::succeeded(operation, halves);
    }
}
