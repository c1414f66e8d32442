//! Key formats of the messages table. No other module builds or parses a key of an item.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | message | `MSG#{group}` | `{created_at}#{message}` |
//! | message group row | `GRP#{user}` | sort key of the group's newest message |
//! | pair | `PAIR#{lower user}#{higher user}` | `PAIR` |
//! | membership | `MBR#{group}` | `MBR` |
//! | feed entry | `FEED#{user}` | position with 16 digits |
//! | idempotency key | `KEY#{user}#{key}` | `KEY` |
//! | marker: every legacy group is adopted | `LEGACY` | `ADOPTED` |
//!
//! The sort keys of the legacy system are ISO 8601 times only, with any UTC offset or none. Keys of both systems are ordered
//! as text.

use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use crate::instant::{ceil_to_micros, format_instant, parse_instant};
use crate::model::{IdempotencyKey, MessageGroupUuid, MessageUuid, UserUuid};

/// Partition key attribute.
pub const PK: &str = "pk";
/// Sort key attribute.
pub const SK: &str = "sk";
/// Hash key of the index. Only message group rows have this attribute.
pub const MESSAGE_GROUP_UUID: &str = "message_group_uuid";
/// Name of the global secondary index.
pub const GROUP_INDEX: &str = "message-group-sk-index";

const MESSAGE_PREFIX: &str = "MSG#";
const GROUP_PREFIX: &str = "GRP#";
/// Sort key of every pair item.
pub const PAIR_SK: &str = "PAIR";
/// Sort key of every membership item.
pub const MEMBERSHIP_SK: &str = "MBR";
/// Sort key of every idempotency key item.
pub const IDEMPOTENCY_KEY_SK: &str = "KEY";
/// Primary key of the marker, which exists when every legacy group is adopted.
pub const MARKER: (&str, &str) = ("LEGACY", "ADOPTED");
/// Maximum length of a sort key in bytes. Keys of both systems are much shorter; DynamoDB's own limit is 1024 bytes.
const MAX_SORT_KEY_LENGTH: usize = 128;

/// Partition key of a group's messages.
pub fn messages_pk(group: MessageGroupUuid) -> String {
    format!("{MESSAGE_PREFIX}{group}")
}

/// Partition key of a user's message group rows.
pub fn groups_pk(user: UserUuid) -> String {
    format!("{GROUP_PREFIX}{user}")
}

/// Partition key of the pair item of two users. The order of the arguments does not matter.
pub fn pair_pk(one: UserUuid, other: UserUuid) -> String {
    let (lower, higher) = if one <= other { (one, other) } else { (other, one) };
    format!("PAIR#{lower}#{higher}")
}

/// Partition key of a group's membership item.
pub fn membership_pk(group: MessageGroupUuid) -> String {
    format!("MBR#{group}")
}

/// Partition key of a user's feed.
pub fn feed_pk(user: UserUuid) -> String {
    format!("FEED#{user}")
}

/// Sort key of a feed entry. The width is fixed, so text order is the order of positions.
pub fn feed_sk(position: u64) -> String {
    format!("{position:016}")
}

/// Reads the position from the sort key of a feed entry.
pub fn position_of_feed_sk(sk: &str) -> Option<u64> {
    sk.parse().ok().filter(|position| feed_sk(*position) == sk)
}

/// Partition key of the item of an idempotency key. It contains the user, so the keys of two users are independent.
pub fn idempotency_key_pk(user: UserUuid, key: IdempotencyKey) -> String {
    format!("KEY#{user}#{key}")
}

/// Reads the group from the partition key of a message. Returns `None` for the key of another kind of item.
pub fn group_of_messages_pk(pk: &str) -> Option<Result<MessageGroupUuid, uuid::Error>> {
    pk.strip_prefix(MESSAGE_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(MessageGroupUuid))
}

/// Reads the user from the partition key of a message group row. Returns `None` for the key of another kind of item.
pub fn user_of_groups_pk(pk: &str) -> Option<Result<UserUuid, uuid::Error>> {
    pk.strip_prefix(GROUP_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(UserUuid))
}

/// Returns the smallest sort key that a message of this system created at or after `at` can have. `at` is rounded up to a
/// microsecond.
pub fn key_bound(at: DateTime<Utc>) -> String {
    let at = ceil_to_micros(at);
    match at.year() {
        // Text order equals time order only for years of four digits. The bounds for other years sort before or after every key.
        i32::MIN..0 => "0".to_owned(),
        0..=9999 => format_instant(at),
        10_000.. => ":".to_owned(),
    }
}

/// The sort key of a message or of a message group row, in the format of this system or the legacy system. Ordered as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(String);

impl SortKey {
    /// The sort key of a new message.
    pub fn of_message(created_at: DateTime<Utc>, uuid: MessageUuid) -> Self {
        Self(format!("{}#{uuid}", format_instant(created_at)))
    }

    /// Reads a sort key from an item or a cursor. Returns `None` if the text has the format of neither system.
    pub fn read(text: &str) -> Option<Self> {
        let key = Self(text.to_owned());
        (text.len() <= MAX_SORT_KEY_LENGTH && key.created_at().is_some()).then_some(key)
    }

    /// The text that DynamoDB stores.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the instant in the key. Every key from [`SortKey::read`] or [`SortKey::of_message`] contains one.
    pub fn created_at(&self) -> Option<DateTime<Utc>> {
        parse_instant(self.0.split('#').next().unwrap_or_default())
    }

    /// Returns the uuid in the key. Legacy keys contain none.
    pub fn message_uuid(&self) -> Option<MessageUuid> {
        let (_, uuid) = self.0.split_once('#')?;
        Uuid::try_parse(uuid).ok().map(MessageUuid)
    }

    /// Returns a key that sorts before this one and after every key of an earlier instant. `None` for a legacy key.
    pub fn just_before(&self) -> Option<Self> {
        let (instant, _) = self.0.split_once('#')?;
        Some(Self(instant.to_owned()))
    }

    /// Returns a key with the same instant and `uuid`. It replaces a legacy key, which is a time only, if another item already
    /// has that key.
    pub fn made_unique_by(&self, uuid: Uuid) -> Self {
        let instant = self.0.split('#').next().unwrap_or_default();
        Self(format!("{instant}#{}", uuid.hyphenated()))
    }
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_message_key_has_a_fixed_width_and_can_be_read_back() {
        let uuid = MessageUuid(Uuid::from_u128(7));
        for (time, text) in [
            ("2026-11-22T10:42:39.123456Z", "2026-11-22T10:42:39.123456Z"),
            ("2026-11-22T10:42:39Z", "2026-11-22T10:42:39.000000Z"),
            ("2026-11-22T10:42:39.123456999Z", "2026-11-22T10:42:39.123456Z"),
        ] {
            let key = SortKey::of_message(at(time), uuid);
            assert_eq!(key.as_str(), format!("{text}#00000000-0000-0000-0000-000000000007"));
            assert_eq!(SortKey::read(key.as_str()), Some(key.clone()));
            assert_eq!(key.message_uuid(), Some(uuid));
            assert_eq!(key.created_at(), Some(at(text)));
        }
    }

    #[test]
    fn legacy_keys_have_an_instant_and_no_uuid() {
        for (text, instant) in [
            ("2022-05-04T10:42:39", "2022-05-04T10:42:39Z"),
            ("2022-05-04T10:42:39.5", "2022-05-04T10:42:39.5Z"),
            ("2022-05-04T10:42:39.123456", "2022-05-04T10:42:39.123456Z"),
            ("2022-05-04T10:42:39+00:00", "2022-05-04T10:42:39Z"),
            ("2022-05-04T10:42:39.123456-04:00", "2022-05-04T14:42:39.123456Z"),
            ("2022-05-04 10:42:39.123456+05:30", "2022-05-04T05:12:39.123456Z"),
            ("2022-05-04T10:42:39+0530", "2022-05-04T05:12:39Z"),
            ("2022-05-04T10:42:39.5-05", "2022-05-04T15:42:39.5Z"),
            ("2022-05-04T10:42:39+05:53:28", "2022-05-04T04:49:11Z"),
            ("2022-05-04T10:42:39-23:59", "2022-05-05T10:41:39Z"),
        ] {
            let key = SortKey::read(text).expect(text);
            assert_eq!(key.created_at(), Some(at(instant)), "{text}");
            assert_eq!(key.message_uuid(), None);
        }
    }

    #[test]
    fn other_text_is_no_sort_key() {
        for text in [
            "",
            "PAIR",
            "yesterday",
            "2022-13-04T10:42:39",
            "#2022-05-04T10:42:39",
            "+2022-05-04T10:42:39Z",
            "2022-05-04T10:42:39+5",
            "2022-05-04T10:42:39+25:00",
            "2022-05-04T10:42:39+é",
            "2022-05-04T10:42:3é+05",
        ] {
            assert_eq!(SortKey::read(text), None, "{text}");
        }
        assert_eq!(SortKey::read(&format!("2022-05-04T10:42:39#{}", "x".repeat(200))), None);
    }

    #[test]
    fn bounds_round_up_and_enclose_every_key_outside_four_digit_years() {
        assert_eq!(key_bound(at("2026-01-01T00:00:00.000000001Z")), "2026-01-01T00:00:00.000001Z");
        assert_eq!(key_bound(at("2026-01-01T00:00:00Z")), "2026-01-01T00:00:00.000000Z");
        assert_eq!(key_bound(DateTime::<Utc>::MIN_UTC), "0");
        assert_eq!(key_bound(DateTime::<Utc>::MAX_UTC), ":");
    }

    #[test]
    fn a_pair_has_one_key_in_both_orders() {
        let (a, b) = (UserUuid(Uuid::from_u128(1)), UserUuid(Uuid::from_u128(2)));
        assert_eq!(pair_pk(a, b), pair_pk(b, a));
    }
}
