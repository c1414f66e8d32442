//! How tables should be, and what differs.

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput, ProvisionedThroughputDescription, TableDescription};

/// How a table's capacity is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// So many read and write units a second, on the table and on the index each.
    Provisioned {
        /// Read units a second.
        read: i64,
        /// Write units a second.
        write: i64,
    },
    /// Each request by itself.
    OnDemand,
}

impl Billing {
    /// What the AWS free tier covers.
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
            // Not given at all: a table that has always been provisioned.
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
            Self::Provisioned { read, write } => write!(f, "provisioned, {read} read and {write} write units a second"),
            Self::OnDemand => f.write_str("on demand"),
        }
    }
}

/// How a table should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How it is paid for.
    pub billing: Billing,
    /// Whether it should be protected from being dropped; not looked at when nothing is said.
    pub deletion_protection: Option<bool>,
    /// Whether it should be restorable to any second of the last weeks; not looked at when nothing is said.
    pub point_in_time_recovery: Option<bool>,
}

impl From<Billing> for Wanted {
    fn from(billing: Billing) -> Self {
        Self { billing, deletion_protection: None, point_in_time_recovery: None }
    }
}

/// What was done about a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Whether it was not there before.
    pub created: bool,
    /// What was changed.
    pub changed: Vec<String>,
    /// What is as it should be.
    pub matches: Vec<String>,
    /// What differs, and what it should be. An operator must decide about it.
    pub differences: Vec<String>,
}

impl Loaded {
    pub(super) fn compare(&mut self, what: &str, found: impl std::fmt::Display, wanted: impl std::fmt::Display) {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        if found == wanted {
            self.matches.push(format!("{what}: {found}"));
        } else {
            self.differences.push(format!("{what}: {found}, and should be {wanted}"));
        }
    }
}
