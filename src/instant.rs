//! Instants as text: the format of keys and responses, and the formats of the legacy system.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

/// An instant in UTC with six digits of a second, always with the same width: `2026-11-22T10:42:39.123456Z`.
pub fn format_instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// `at`, or the next whole microsecond after it. Keys have microseconds.
pub fn ceil_to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    let micros = at.timestamp_micros() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1000));
    DateTime::from_timestamp_micros(micros).unwrap_or(at)
}

/// Reads an instant of this system or of the legacy system. Without an offset it is UTC.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    // A sign after `2022-05-04T10:42:39`, which has the hyphens of the date, starts the offset.
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

/// Reads an ISO 8601 offset that RFC 3339 does not have: `+05`, `+0530`, and Python's `+05:53:28`.
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

    #[test]
    fn instants_have_a_fixed_width_and_are_read_back() {
        for text in [
            "0000-01-01T00:00:00.000000Z",
            "2016-12-31T23:59:60.500000Z",
            "2024-02-29T00:00:00.000001Z",
            "2026-11-22T10:42:39.123456Z",
            "9999-12-31T23:59:59.999999Z",
        ] {
            let at = parse_instant(text).expect(text);
            assert_eq!(format_instant(at), text);
        }
        for text in ["2026-02-30T10:42:39.123456Z", "2026-11-22T24:00:00.000000Z", "2026-11-22T10:42:39.12345+Z"] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
