//! Key formats of the messages table. No other module builds or parses a key.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | message | `MSG#{group}` | `{created_at}#{message}` |
//! | message group row | `GRP#{user}` | sort key of the group's newest message |
//! | pair | `PAIR#{lower user}#{higher user}` | `PAIR` |
//! | membership | `MBR#{group}` | `MBR` |
//!
//! The legacy system wrote bare ISO 8601 timestamps as sort keys, with any offset or none. Both are ordered as text.

use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use crate::instant::{ceil_to_micros, format_instant, parse_instant};
use crate::model::{MessageGroupUuid, MessageUuid, UserUuid};

/// Partition key attribute.
pub const PK: &str = "pk";
/// Sort key attribute.
pub const SK: &str = "sk";
/// Hash key of the index. Only message group rows have it.
pub const MESSAGE_GROUP_UUID: &str = "message_group_uuid";
/// The global secondary index.
pub const GROUP_INDEX: &str = "message-group-sk-index";

const MESSAGE_PREFIX: &str = "MSG#";
const GROUP_PREFIX: &str = "GRP#";
/// Sort key of every pair item.
pub const PAIR_SK: &str = "PAIR";
/// Sort key of every membership item.
pub const MEMBERSHIP_SK: &str = "MBR";
/// Maximum length of a sort key in bytes. The keys of both systems are much shorter; DynamoDB's own limit is 1024.
const MAX_SORT_KEY_BYTES: usize = 128;

/// Partition of a group's messages.
pub fn messages_pk(group: MessageGroupUuid) -> String {
    format!("{MESSAGE_PREFIX}{group}")
}

/// Partition of a user's message group rows.
pub fn groups_pk(user: UserUuid) -> String {
    format!("{GROUP_PREFIX}{user}")
}

/// Partition of the pair item of two users, the same from both sides.
pub fn pair_pk(one: UserUuid, other: UserUuid) -> String {
    let (lower, higher) = if one <= other { (one, other) } else { (other, one) };
    format!("PAIR#{lower}#{higher}")
}

/// Partition of a group's membership item.
pub fn membership_pk(group: MessageGroupUuid) -> String {
    format!("MBR#{group}")
}

/// The group of a message with this partition key, or `None` if it is the key of another kind of item.
pub fn group_of_messages_pk(pk: &str) -> Option<Result<MessageGroupUuid, uuid::Error>> {
    pk.strip_prefix(MESSAGE_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(MessageGroupUuid))
}

/// The user of a message group row with this partition key, or `None` if it is the key of another kind of item.
pub fn user_of_groups_pk(pk: &str) -> Option<Result<UserUuid, uuid::Error>> {
    pk.strip_prefix(GROUP_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(UserUuid))
}

/// The smallest sort key of a message that was created at `at` or later.
pub fn key_bound(at: DateTime<Utc>) -> String {
    let at = ceil_to_micros(at);
    match at.year() {
        // A year without exactly four digits is not ordered as text. These texts sort before and after every key.
        i32::MIN..0 => "0".to_owned(),
        0..=9999 => format_instant(at),
        10_000.. => ":".to_owned(),
    }
}

/// A sort key of a message or of a message group row, of this system or of the legacy system. Ordered as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(String);

impl SortKey {
    /// The sort key of a new message.
    pub fn of_message(created_at: DateTime<Utc>, uuid: MessageUuid) -> Self {
        Self(format!("{}#{uuid}", format_instant(created_at)))
    }

    /// Reads a sort key of an item or a cursor. `None` if it is not a key of either system.
    pub fn read(text: &str) -> Option<Self> {
        let key = Self(text.to_owned());
        (text.len() <= MAX_SORT_KEY_BYTES && key.created_at().is_some()).then_some(key)
    }

    /// The value in DynamoDB.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time in the key. Keys that [`SortKey::read`] or [`SortKey::of_message`] made always have one.
    pub fn created_at(&self) -> Option<DateTime<Utc>> {
        parse_instant(self.0.split('#').next().unwrap_or_default())
    }

    /// The message in the key. Legacy keys have none.
    pub fn message_uuid(&self) -> Option<MessageUuid> {
        let (_, uuid) = self.0.split_once('#')?;
        Uuid::try_parse(uuid).ok().map(MessageUuid)
    }

    /// The key with `uuid` appended: for a bare legacy timestamp that is the key of another row already.
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
    fn a_message_key_is_fixed_width_and_reads_back() {
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
    fn legacy_keys_have_an_instant() {
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
    fn a_text_that_is_no_key_is_rejected() {
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
    fn bounds_round_up_and_leave_four_digit_years_at_the_ends() {
        assert_eq!(key_bound(at("2026-01-01T00:00:00.000000001Z")), "2026-01-01T00:00:00.000001Z");
        assert_eq!(key_bound(at("2026-01-01T00:00:00Z")), "2026-01-01T00:00:00.000000Z");
        assert_eq!(key_bound(DateTime::<Utc>::MIN_UTC), "0");
        assert_eq!(key_bound(DateTime::<Utc>::MAX_UTC), ":");
    }

    #[test]
    fn a_pair_has_one_key_from_both_sides() {
        let (a, b) = (UserUuid(Uuid::from_u128(1)), UserUuid(Uuid::from_u128(2)));
        assert_eq!(pair_pk(a, b), pair_pk(b, a));
    }
}
