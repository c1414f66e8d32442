//! Conversion between the row of the repair and its item. The format is in the documentation of
//! [`consumer_table`](super::consumer_table).

use aws_sdk_dynamodb::types::AttributeValue;

use super::consumer_items::{COUNTER, EPOCH, OWNER, STEP};
use super::repair::{Complete, Pass, Repair, Tally};
use crate::messages_table::attributes::{AttributeReader, Item, number, primary_key};
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
    primary_key(REPAIR.to_owned(), REPAIR)
}

/// Converts the item.
pub fn to_repair(item: &Item) -> Result<Repair, ItemError> {
    let reader = AttributeReader(item);
    let pass = match reader.optional_number(PASS)? {
        Some(covers) => {
            let (started_at, position) = (reader.number(STARTED_AT)?, position(item)?);
            Some(Pass { covers, started_at, position })
        }
        None => None,
    };
    let complete = match reader.optional_number(COMPLETED)? {
        Some(covers) => {
            let (since, finished_at) = (reader.number(COMPLETE_SINCE)?, reader.number(FINISHED_AT)?);
            Some(Complete { covers, since, finished_at })
        }
        None => None,
    };
    let count = |name| reader.optional_number(name).map(Option::unwrap_or_default);
    Ok(Repair {
        owner: reader.optional_text(OWNER)?.map(Into::into),
        epoch: reader.number(EPOCH)?,
        counter: reader.number(COUNTER)?,
        step: count(STEP)?,
        requested: reader.number(REQUESTED)?,
        requested_at: reader.optional_number(REQUESTED_AT)?,
        pass,
        complete,
        tally: Tally { groups: count(GROUPS)?, moved: count(MOVED)?, failed: count(FAILED)? },
    })
}

fn position(item: &Item) -> Result<Option<ScanPosition>, ItemError> {
    let Some(value) = item.get(POSITION) else { return Ok(None) };
    let key = value.as_m().map_err(|_| AttributeReader(item).error(POSITION, "is not a map"))?;
    Ok(Some(ScanPosition::from_key(key.clone())))
}

/// Returns the attributes of a tally with their values.
pub fn from_tally(tally: Tally) -> [(&'static str, AttributeValue); 3] {
    let Tally { groups, moved, failed } = tally;
    [(GROUPS, number(groups)), (MOVED, number(moved)), (FAILED, number(failed))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages_table::attributes::text;

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
