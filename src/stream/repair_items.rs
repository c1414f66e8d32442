//! Conversion between the row of the repair and its item. The format is in the documentation of
//! [`lease_table`](super::lease_table).

use aws_sdk_dynamodb::types::AttributeValue;

use super::lease_items::{COUNTER, EPOCH, OWNER, STEP, number, optional_number, optional_text, required};
use super::repair::{Complete, Pass, Repair, Tally};
use crate::messages_table::items::{Item, key};
use crate::messages_table::{ItemError, ScanPosition};

/// Attributes.
pub const COMPLETE_SINCE: &str = "complete_since";
pub const COMPLETED: &str = "completed";
pub const FAILED: &str = "failed";
pub const FINISHED_AT: &str = "finished_at";
pub const GROUPS: &str = "groups";
pub const MOVED: &str = "moved";
pub const PASS: &str = "pass";
pub const POSITION: &str = "position";
pub const REQUESTED: &str = "requested";
pub const REQUESTED_AT: &str = "requested_at";
pub const STARTED_AT: &str = "started_at";
/// Both keys of the item. The item is in a partition without leases of shards, because processes of earlier versions
/// take every item in those partitions as a lease.
const REPAIR: &str = "REPAIR";

/// Returns the key of the item.
pub fn repair_key() -> Item {
    key(REPAIR.to_owned(), REPAIR)
}

/// Converts the item.
pub fn to_repair(item: &Item) -> Result<Repair, ItemError> {
    let pass = match optional_number(item, PASS)? {
        Some(covers) => {
            let started_at = required(optional_number(item, STARTED_AT)?, item, STARTED_AT)?;
            Some(Pass { covers, started_at, position: position(item)? })
        }
        None => None,
    };
    let complete = match optional_number(item, COMPLETED)? {
        Some(covers) => {
            let since = required(optional_number(item, COMPLETE_SINCE)?, item, COMPLETE_SINCE)?;
            let finished_at = required(optional_number(item, FINISHED_AT)?, item, FINISHED_AT)?;
            Some(Complete { covers, since, finished_at })
        }
        None => None,
    };
    let count = |name| optional_number(item, name).map(Option::unwrap_or_default);
    Ok(Repair {
        owner: optional_text(item, OWNER)?.map(Into::into),
        epoch: required(optional_number(item, EPOCH)?, item, EPOCH)?,
        counter: required(optional_number(item, COUNTER)?, item, COUNTER)?,
        step: count(STEP)?,
        requested: required(optional_number(item, REQUESTED)?, item, REQUESTED)?,
        requested_at: optional_number(item, REQUESTED_AT)?,
        pass,
        complete,
        tally: Tally { groups: count(GROUPS)?, moved: count(MOVED)?, failed: count(FAILED)? },
    })
}

fn position(item: &Item) -> Result<Option<ScanPosition>, ItemError> {
    let Some(value) = item.get(POSITION) else { return Ok(None) };
    let key = value.as_m().map_err(|_| ItemError::new(item, POSITION, "is not a map"))?;
    Ok(Some(ScanPosition::from_key(key.clone())))
}

/// Returns the attributes of a tally with their values.
pub fn from_tally(tally: Tally) -> [(&'static str, AttributeValue); 3] {
    let Tally { groups, moved, failed } = tally;
    [(GROUPS, number(groups)), (MOVED, number(moved)), (FAILED, number(failed))]
}

#[cfg(test)]
mod tests {
    use super::super::lease_items::text;
    use super::*;

    #[test]
    fn a_malformed_repair_is_an_error_that_names_the_attribute() {
        let mut good = repair_key();
        good.extend([EPOCH, COUNTER, REQUESTED].map(|name| (name.to_owned(), number(1))));
        let read = Repair { epoch: 1, counter: 1, requested: 1, ..Repair::default() };
        assert_eq!(to_repair(&good), Ok(read));
        let malformed: [(&str, Option<AttributeValue>, &str); 5] = [
            (REQUESTED, None, REQUESTED),
            (EPOCH, Some(number("-1")), EPOCH),
            (PASS, Some(number(1)), STARTED_AT),
            (COMPLETED, Some(number(1)), COMPLETE_SINCE),
            (GROUPS, Some(text("many")), GROUPS),
        ];
        for (attribute, value, named) in malformed {
            let mut item = good.clone();
            match value {
                Some(value) => item.insert(attribute.to_owned(), value),
                None => item.remove(attribute),
            };
            let error = to_repair(&item).expect_err(attribute).to_string();
            assert!(error.contains(named) && error.contains("REPAIR / REPAIR"), "{error}");
        }
    }
}
