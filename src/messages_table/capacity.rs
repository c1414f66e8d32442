//! Consumed capacity, as DynamoDB reports it in its responses.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::types::ConsumedCapacity;

use crate::metrics::{self, Target};

/// Consumed capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
}

/// Counts consumed capacity in half units, because a call consumes a multiple of half a unit.
#[derive(Debug)]
pub(crate) struct Meter {
    target: Target,
    read: AtomicU64,
    write: AtomicU64,
}

impl Meter {
    /// Creates a meter for the calls to `target`.
    pub fn new(target: Target) -> Self {
        Self { target, read: AtomicU64::new(0), write: AtomicU64::new(0) }
    }

    /// Returns the number of units counted so far.
    pub fn consumed(&self) -> Consumed {
        let units = |halves: &AtomicU64| halves.load(Ordering::Relaxed) as f64 / 2.0;
        Consumed { read: units(&self.read), write: units(&self.write) }
    }

    /// Adds the capacity that a response of `operation` reports.
    pub fn count<'a>(&self, operation: &'static str, capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.count_units(operation, capacity.into_iter().filter_map(|table| table.capacity_units).sum());
    }

    /// Adds `units` to the read or write units, depending on `operation`, and to the metrics.
    pub fn count_units(&self, operation: &'static str, units: f64) {
        // The cast is safe: units are never negative and far below the maximum of u64.
        let halves = (units * 2.0).round() as u64;
        let reads = matches!(operation, "GetItem" | "Query" | "Scan");
        let counter = if reads { &self.read } else { &self.write };
        counter.fetch_add(halves, Ordering::Relaxed);
        metrics::succeeded(self.target, operation, halves);
    }
}
