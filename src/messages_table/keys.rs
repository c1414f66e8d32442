//! Key formats of the messages table; no other module builds or takes apart a key.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | message | `MSG#{group}` | `{created_at}#{message}` |
//! | message group row | `GRP#{user}` | sort key of the group's newest message |
//! | pair | `PAIR#{lower user}#{higher user}` | `PAIR` |
//! | membership | `MBR#{group}` | `MBR` |
//!
//! The earlier system wrote bare ISO 8601 times as sort keys, with any offset or none. Text order is the order of both.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use uuid::Uuid;

use crate::model::{MessageGroupUuid, MessageUuid, UserUuid};

/// Partition key attribute.
pub const PK: &str = "pk";
/// Sort key attribute.
pub const SK: &str = "sk";
/// Hash key of the index; only message group rows carry it.
pub const MESSAGE_GROUP_UUID: &str = "message_group_uuid";
/// The one global secondary index.
pub const GROUP_INDEX: &str = "message-group-sk-index";

const MESSAGE_PREFIX: &str = "MSG#";
const GROUP_PREFIX: &str = "GRP#";
/// Sort key of every pair item.
pub const PAIR_SK: &str = "PAIR";
/// Sort key of every membership item.
pub const MEMBERSHIP_SK: &str = "MBR";
/// No sort key of either system comes near it; DynamoDB's own limit is 1024 bytes.
const LONGEST_SORT_KEY: usize = 128;

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

/// The group whose message stands under `pk`, or `None` when it is no message's.
pub fn group_of_messages_pk(pk: &str) -> Option<Result<MessageGroupUuid, uuid::Error>> {
    pk.strip_prefix(MESSAGE_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(MessageGroupUuid))
}

/// The user whose rows stand under `pk`, or `None` when it is no row's.
pub fn user_of_groups_pk(pk: &str) -> Option<Result<UserUuid, uuid::Error>> {
    pk.strip_prefix(GROUP_PREFIX).map(|uuid| Uuid::try_parse(uuid).map(UserUuid))
}

/// A time as keys spell it: UTC, six digits of a second, always the same width.
pub fn format_instant(at: DateTime<Utc>) -> String {
    if !(0..=9999).contains(&at.year()) || at.nanosecond() >= 1_000_000_000 {
        return at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    }
    // The same for what is not out of the way, in a tenth of the time: an answer has dozens of them.
    let mut text = String::from("0000-00-00T00:00:00.000000Z");
    let mut put = |digits: std::ops::Range<usize>, mut number: u32| {
        let mut shown = [0; 6];
        for digit in shown[..digits.len()].iter_mut().rev() {
            // A digit: below ten.
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        text.replace_range(digits.clone(), std::str::from_utf8(&shown[..digits.len()]).unwrap_or_default());
    };
    put(0..4, at.year().unsigned_abs());
    put(5..7, at.month());
    put(8..10, at.day());
    put(11..13, at.hour());
    put(14..16, at.minute());
    put(17..19, at.second());
    put(20..26, at.nanosecond() / 1000);
    text
}

/// The smallest key text that a message of `at` or later can have; for a time between two microseconds, the later one.
pub fn key_bound(at: DateTime<Utc>) -> String {
    let at = ceil_to_micros(at);
    match at.year() {
        // Outside four digits the text order ends: below every key, or above every key.
        i32::MIN..0 => "0".to_owned(),
        0..=9999 => format_instant(at),
        10_000.. => ":".to_owned(),
    }
}

/// The first whole microsecond not before `at`, the precision of every key.
pub fn ceil_to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    let micros = at.timestamp_micros() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1000));
    DateTime::from_timestamp_micros(micros).unwrap_or(at)
}

/// A sort key of a message or of a message group row, in the form of either system. Ordered as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(String);

impl SortKey {
    /// The sort key of a new message.
    pub fn of_message(created_at: DateTime<Utc>, uuid: MessageUuid) -> Self {
        Self(format!("{}#{uuid}", format_instant(created_at)))
    }

    /// A sort key read from an item or a cursor; `None` when the text can be no key of either system.
    pub fn read(text: &str) -> Option<Self> {
        let key = Self(text.to_owned());
        (text.len() <= LONGEST_SORT_KEY && key.created_at().is_some()).then_some(key)
    }

    /// As DynamoDB has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time that it says; always there in a key that [`SortKey::read`] or [`SortKey::of_message`] made.
    pub fn created_at(&self) -> Option<DateTime<Utc>> {
        parse_instant(self.0.split('#').next().unwrap_or_default())
    }

    /// The message that it names; the earlier system's keys name none.
    pub fn message_uuid(&self) -> Option<MessageUuid> {
        let (_, uuid) = self.0.split_once('#')?;
        Uuid::try_parse(uuid).ok().map(MessageUuid)
    }

    /// The key with `uuid` behind it: where a bare time of the earlier system is taken already, the next free place.
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

/// Reads a time of either system; without an offset it is UTC.
fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some(at) = parse_own_instant(text.as_bytes()) {
        return Some(at);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    // Behind `2022-05-04T10:42:39`, where no date's hyphen is any more, a sign begins the offset.
    let sign = text.char_indices().position(|(at, it)| at >= 19 && matches!(it, '+' | '-'));
    let (local, offset) = match sign.and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) => (local, parse_offset(offset)?),
        None => (text, TimeDelta::zero()),
    };
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(local, format).ok())?
        .checked_sub_signed(offset)
        .map(|at| at.and_utc())
}

/// Reads what [`format_instant`] writes, but for leap seconds, in a tenth of the time: a list has dozens of them.
fn parse_own_instant(text: &[u8]) -> Option<DateTime<Utc>> {
    if text.len() != 27 {
        return None;
    }
    let is = |at: usize, sign: u8| text.get(at) == Some(&sign);
    if ![(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')]
        .iter()
        .all(|it| is(it.0, it.1))
    {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.iter().try_fold(0_u32, |sum, it| it.is_ascii_digit().then(|| sum * 10 + u32::from(it - b'0')))
    };
    // Four digits fit.
    let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 7)?, number(8, 10)?)?;
    let time = date.and_hms_micro_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 26)?)?;
    Some(time.and_utc())
}

/// Reads an offset of ISO 8601 that RFC 3339 does not have: `+05`, `+0530`, and Python's `+05:53:28`.
fn parse_offset(text: &str) -> Option<TimeDelta> {
    let digits: String = text.chars().skip(1).filter(|it| *it != ':').collect();
    if !digits.chars().all(|it| it.is_ascii_digit()) || !matches!(digits.len(), 2 | 4 | 6) {
        return None;
    }
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |text| text.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    (hours < 24 && minutes < 60 && seconds < 60).then_some(())?;
    let offset = TimeDelta::seconds(hours * 3600 + minutes * 60 + seconds);
    Some(if text.starts_with('-') { -offset } else { offset })
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
    fn instants_are_spelt_as_the_crate_spells_them() {
        for text in [
            "0000-01-01T00:00:00Z",
            "0009-12-31T23:59:59.999999999Z",
            "2016-12-31T23:59:60.5Z",
            "9999-12-31T23:59:59.000001Z",
        ] {
            let at = at(text);
            assert_eq!(format_instant(at), at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
        for year in [-1, 10_000] {
            let at = at("2026-01-02T03:04:05Z").with_year(year).expect("a year");
            assert_eq!(format_instant(at), at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }

    #[test]
    fn our_own_instants_are_read_as_the_crate_reads_them() {
        for text in [
            "2026-11-22T10:42:39.123456Z",
            "0000-01-01T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T00:00:00.000001Z",
        ] {
            assert_eq!(parse_own_instant(text.as_bytes()), Some(at(text)));
        }
        for text in [
            "2026-02-30T10:42:39.123456Z",
            "2026-11-22T24:00:00.000000Z",
            "2016-12-31T23:59:60.500000Z",
            "2026-11-22 10:42:39.123456Z",
            "2026-11-22T10:42:39.12345+Z",
            "2026-11-22T10:42:39.1234567",
            "2026-11-22T10:42:39.1234é",
        ] {
            assert_eq!(parse_own_instant(text.as_bytes()), None, "{text}");
        }
        assert!(SortKey::read("2016-12-31T23:59:60.500000Z").is_some(), "leap seconds are the crate's");
    }

    #[test]
    fn keys_of_the_earlier_system_say_their_instant() {
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
    fn what_is_no_key_is_refused() {
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
