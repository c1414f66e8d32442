//! Conversion between the items of the consumer's table and leases or set-aside entries. The formats are in the
//! documentation of [`consumer_table`](super::consumer_table).

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use super::ids::StreamArn;
use super::lease::{Checkpoint, Lease, LeaseVersion, NewLease};
use super::set_aside::{SetAside, Subject};
use crate::messages_table::ItemError;
use crate::messages_table::attributes::{AttributeReader, Item, number, primary_key, text};
use crate::messages_table::keys::SK;
use crate::model::MessageGroupUuid;

/// Attributes of a lease.
pub const CHECKPOINT: &str = "checkpoint";
pub const COUNTER: &str = "counter";
pub const EPOCH: &str = "epoch";
pub const HANDLED_UNTIL: &str = "handled_until";
pub const OWNER: &str = "owner";
pub const STEP: &str = "step";
/// The epoch. Versions that write no feeds store it in [`EPOCH`], and ignore a lease without that attribute.
pub const FEED_EPOCH: &str = "feed_epoch";
/// Present after the lease was taken from an earlier version, until its former holder has stopped.
pub const UPGRADING: &str = "upgrading";
const CREATED_AT: &str = "created_at";
const PARENT: &str = "parent";
/// Values of `checkpoint` that are not sequence numbers.
const BEHIND_GAP: &str = "BEHIND_GAP";
const SHARD_END: &str = "SHARD_END";
const TRIM_HORIZON: &str = "TRIM_HORIZON";
/// Both keys of the item that names the stream that was consumed last, and its attribute.
pub const LAST_STREAM: &str = "STREAM";
const STREAM: &str = "stream";
/// Partition key of set-aside entries, their attributes, and the prefix of the uuid of a group in a sort key.
pub const SET_ASIDE: &str = "ASIDE";
const MESSAGE_PK: &str = "message_pk";
const MESSAGE_SK: &str = "message_sk";
const REASON: &str = "reason";
const SET_ASIDE_AT: &str = "set_aside_at";
const GROUP_PREFIX: &str = "reconcile-";

/// Partition key of the leases of a stream.
pub fn lease_pk(stream: &StreamArn) -> String {
    format!("LEASE#{stream}")
}

/// The item of a new lease.
pub fn from_new_lease(stream: &StreamArn, new: &NewLease) -> Item {
    let mut item = primary_key(lease_pk(stream), &new.shard.id);
    item.extend([FEED_EPOCH, COUNTER].map(|name| (name.to_owned(), number(0))));
    item.insert(CREATED_AT.to_owned(), number(new.created_at));
    if new.is_behind_gap {
        item.insert(CHECKPOINT.to_owned(), text(BEHIND_GAP));
    }
    if let Some(parent) = &new.shard.parent {
        item.insert(PARENT.to_owned(), text(parent));
    }
    item
}

/// Reads a lease.
pub fn to_lease(item: &Item) -> Result<Lease, ItemError> {
    let reader = AttributeReader(item);
    let (epoch, version) = match reader.optional_number(FEED_EPOCH)? {
        Some(epoch) if item.contains_key(UPGRADING) => (epoch, LeaseVersion::Upgrading),
        Some(epoch) => (epoch, LeaseVersion::WithFeed),
        None if item.contains_key(EPOCH) => (reader.number(EPOCH)?, LeaseVersion::WithoutFeed),
        None => return Err(reader.error(FEED_EPOCH, "is missing")),
    };
    Ok(Lease {
        shard: reader.text(SK)?.into(),
        parent: reader.optional_text(PARENT)?.map(Into::into),
        owner: reader.optional_text(OWNER)?.map(Into::into),
        epoch,
        version,
        counter: reader.number(COUNTER)?,
        step: reader.optional_number(STEP)?.unwrap_or_default(),
        checkpoint: reader.optional_text(CHECKPOINT)?.map(|text| match text {
            BEHIND_GAP => Checkpoint::BehindGap,
            SHARD_END => Checkpoint::ShardEnd,
            TRIM_HORIZON => Checkpoint::TrimHorizon,
            number => Checkpoint::At(number.into()),
        }),
        // A lease of the first version of this table does not have this attribute.
        created_at: reader.optional_number(CREATED_AT)?,
        handled_until: reader.optional_number(HANDLED_UNTIL)?,
    })
}

/// Converts a checkpoint to the value of the attribute `checkpoint`.
pub fn from_checkpoint(checkpoint: &Checkpoint) -> AttributeValue {
    text(match checkpoint {
        Checkpoint::At(number) => number,
        Checkpoint::BehindGap => BEHIND_GAP,
        Checkpoint::ShardEnd => SHARD_END,
        Checkpoint::TrimHorizon => TRIM_HORIZON,
    })
}

/// The item that names the stream that was consumed last.
pub fn from_last_stream(stream: &StreamArn) -> Item {
    let mut item = primary_key(LAST_STREAM.to_owned(), LAST_STREAM);
    item.insert(STREAM.to_owned(), text(stream));
    item
}

/// Reads the item that names the stream that was consumed last.
pub fn to_last_stream(item: &Item) -> Result<StreamArn, ItemError> {
    AttributeReader(item).text(STREAM).map(StreamArn::from)
}

/// The key of a set-aside entry.
pub fn set_aside_key(aside: &SetAside) -> Item {
    let sk = match &aside.subject {
        Subject::Record(number) => format!("{}#{number}", aside.stream),
        Subject::Group(group) => format!("{}#{GROUP_PREFIX}{group}", aside.stream),
    };
    primary_key(SET_ASIDE.to_owned(), &sk)
}

/// The item of a set-aside entry.
pub fn from_set_aside(aside: &SetAside) -> Item {
    let SetAside { reason, message_pk, message_sk, set_aside_at, .. } = aside;
    let attributes =
        [(REASON, reason), (MESSAGE_PK, message_pk), (MESSAGE_SK, message_sk), (SET_ASIDE_AT, set_aside_at)];
    let mut item = set_aside_key(aside);
    item.extend(attributes.map(|(name, value)| (name.to_owned(), text(value))));
    item
}

/// Reads a set-aside entry.
pub fn to_set_aside(item: &Item) -> Result<SetAside, ItemError> {
    let reader = AttributeReader(item);
    let malformed = || reader.error(SK, "is not {stream}#{record or group}");
    let (stream, subject) = reader.text(SK)?.rsplit_once('#').ok_or_else(malformed)?;
    let subject = match subject.strip_prefix(GROUP_PREFIX) {
        Some(group) => Subject::Group(MessageGroupUuid(Uuid::try_parse(group).map_err(|_| malformed())?)),
        None => Subject::Record(subject.into()),
    };
    let attribute = |name| reader.text(name).map(str::to_owned);
    Ok(SetAside {
        stream: stream.into(),
        subject,
        reason: attribute(REASON)?,
        message_pk: attribute(MESSAGE_PK)?,
        message_sk: attribute(MESSAGE_SK)?,
        set_aside_at: attribute(SET_ASIDE_AT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::source::Shard;

    #[test]
    fn a_malformed_lease_is_an_error_that_names_the_attribute() {
        let shard = Shard { id: "shard".into(), parent: None, is_open: true };
        let good = from_new_lease(&"stream".into(), &NewLease { shard, created_at: 7, is_behind_gap: false });
        assert_eq!(to_lease(&good).map(|lease| (lease.epoch, lease.created_at)), Ok((0, Some(7))));
        for (attribute, value) in
            [(FEED_EPOCH, None), (COUNTER, Some(text("1"))), (FEED_EPOCH, Some(number("-1"))), (OWNER, Some(number(1)))]
        {
            let mut item = good.clone();
            match value {
                Some(value) => item.insert(attribute.to_owned(), value),
                None => item.remove(attribute),
            };
            let error = to_lease(&item).expect_err(attribute).to_string();
            assert!(error.contains(attribute) && error.contains("LEASE#stream / shard"), "{error}");
        }
    }

    #[test]
    fn set_aside_entries_are_read_as_they_were_written() {
        for subject in [Subject::Record("100".into()), Subject::Group(MessageGroupUuid(Uuid::from_u128(7)))] {
            let text = |text: &str| text.to_owned();
            let aside = SetAside {
                stream: "arn:aws:dynamodb:eu-central-1:1:table/t/stream/2026".into(),
                subject,
                reason: text("reason"),
                message_pk: text("MSG#7"),
                message_sk: text(""),
                set_aside_at: text("2026-11-22T10:42:39Z"),
            };
            assert_eq!(to_set_aside(&from_set_aside(&aside)), Ok(aside));
        }
    }
}
