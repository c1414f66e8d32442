//! Instants as text: RFC 3339 in UTC with six fractional digits.
//!
//! Sort keys, the API and the operator's commands use this one format. Its width is fixed, so text order is time order. The
//! legacy system wrote other forms of ISO 8601; [`parse_instant`] reads those too.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

/// Length of `2022-05-04T10:42:39`. After it, a sign starts the offset; before it, a hyphen is part of the date.
const LOCAL_TIME_LENGTH: usize = 19;

/// Formats an instant, for example `2026-11-22T10:42:39.123456Z`. Digits after the microsecond are cut off.
pub fn format_instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Parses an instant that either system wrote. A text without an offset is in UTC.
pub(crate) fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    let sign = text.char_indices().position(|(index, sign)| index >= LOCAL_TIME_LENGTH && matches!(sign, '+' | '-'));
    let (local, offset) = match sign.and_then(|index| text.split_at_checked(index)) {
        Some((local, offset)) => (local, parse_offset(offset)?),
        None => (text, TimeDelta::zero()),
    };
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(local, format).ok())?
        .checked_sub_signed(offset)
        .map(|at| at.and_utc())
}

/// Rounds up to a whole microsecond, the precision of every sort key.
pub(crate) fn ceil_to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    let micros = at.timestamp_micros() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1000));
    DateTime::from_timestamp_micros(micros).unwrap_or(at)
}

/// Parses the offsets of ISO 8601 that RFC 3339 does not allow: `+05`, `+0530`, and Python's `+05:53:28`.
fn parse_offset(text: &str) -> Option<TimeDelta> {
    let digits: String = text.chars().skip(1).filter(|character| *character != ':').collect();
    if !digits.chars().all(|digit| digit.is_ascii_digit()) || !matches!(digits.len(), 2 | 4 | 6) {
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
    use chrono::Datelike;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn the_format_has_six_fractional_digits_and_a_fixed_width() {
        for (instant, text) in [
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            ("0009-12-31T23:59:59.999999999Z", "0009-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:60.500000Z"),
            ("2026-11-22T10:42:39.123456999Z", "2026-11-22T10:42:39.123456Z"),
            ("9999-12-31T23:59:59.000001Z", "9999-12-31T23:59:59.000001Z"),
        ] {
            assert_eq!(format_instant(at(instant)), text);
            assert_eq!(parse_instant(text).map(format_instant).as_deref(), Some(text));
        }
        for year in [-1, 10_000] {
            let at = at("2026-01-02T03:04:05Z").with_year(year).expect("a year");
            assert_eq!(format_instant(at), at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }

    #[test]
    fn legacy_forms_are_parsed() {
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
            assert_eq!(parse_instant(text), Some(at(instant)), "{text}");
        }
    }

    #[test]
    fn other_text_is_rejected() {
        for text in [
            "",
            "PAIR",
            "yesterday",
            "2022-13-04T10:42:39",
            "2026-02-30T10:42:39.123456Z",
            "2026-11-22T24:00:00.000000Z",
            "2026-11-22T10:42:39.12345+Z",
            "2026-11-22T10:42:39.1234567é",
            "+2022-05-04T10:42:39Z",
            "2022-05-04T10:42:39+5",
            "2022-05-04T10:42:39+25:00",
            "2022-05-04T10:42:39+é",
            "2022-05-04T10:42:3é+05",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
