//! The wanted configuration of a table, and the result of a comparison with it.

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput, ProvisionedThroughputDescription, TableDescription};

/// Billing mode of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Provisioned capacity. The table and the index each have these numbers of units.
    Provisioned {
        /// Read capacity units per second.
        read: i64,
        /// Write capacity units per second.
        write: i64,
    },
    /// Billing by request.
    OnDemand,
}

impl Billing {
    /// The default capacity of each table and of the index, 15 read units and 15 write units in total. The AWS free tier has 25
    /// of each.
    pub const FREE_TIER: Self = Self::Provisioned { read: 5, write: 5 };

    pub(super) fn mode(self) -> BillingMode {
        match self {
            Self::Provisioned { .. } => BillingMode::Provisioned,
            Self::OnDemand => BillingMode::PayPerRequest,
        }
    }

    pub(super) fn throughput(self) -> Option<ProvisionedThroughput> {
        let Self::Provisioned { read, write } = self else { return None };
        let throughput = ProvisionedThroughput::builder().read_capacity_units(read).write_capacity_units(write).build();
        // `build` fails only without both numbers, and both were given.
        Some(throughput.expect("a complete throughput"))
    }

    pub(super) fn of(found: &TableDescription, throughput: Option<&ProvisionedThroughputDescription>) -> Self {
        match found.billing_mode_summary().and_then(|it| it.billing_mode()) {
            Some(BillingMode::PayPerRequest) => Self::OnDemand,
            // DynamoDB omits the billing mode of a table that was always provisioned.
            _ => Self::Provisioned {
                read: throughput.and_then(|it| it.read_capacity_units()).unwrap_or_default(),
                write: throughput.and_then(|it| it.write_capacity_units()).unwrap_or_default(),
            },
        }
    }
}

impl std::fmt::Display for Billing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provisioned { read, write } => {
                write!(f, "provisioned, {read} read and {write} write units per second")
            }
            Self::OnDemand => f.write_str("on demand"),
        }
    }
}

/// The wanted configuration of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Billing mode.
    pub billing: Billing,
    /// Whether deletion protection should be enabled. `None` if it is not checked.
    pub deletion_protection: Option<bool>,
    /// Whether point-in-time recovery should be enabled. `None` if it is not checked.
    pub point_in_time_recovery: Option<bool>,
}

impl From<Billing> for Wanted {
    fn from(billing: Billing) -> Self {
        Self { billing, deletion_protection: None, point_in_time_recovery: None }
    }
}

/// The result of loading a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Whether the table was created.
    pub created: bool,
    /// Settings that were changed.
    pub changed: Vec<String>,
    /// Settings that are as wanted.
    pub matches: Vec<String>,
    /// Settings that differ and were not changed.
    pub differences: Vec<String>,
    /// Whether every legacy group is adopted. True for a new or empty table, which has no legacy groups.
    pub legacy_is_adopted: bool,
}

impl Loaded {
    /// Adds the setting `what` to the matches or to the differences.
    pub(super) fn compare(&mut self, what: &str, found: impl std::fmt::Display, wanted: impl std::fmt::Display) {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        if found == wanted {
            self.matches.push(format!("{what}: {found}"));
        } else {
            self.differences.push(format!("{what}: {found}, expected {wanted}"));
        }
    }
}
