//! The custom scalars `DateTime` and `UUID`.

use async_graphql::{ContextSelectionSet, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::budget::Meter;
use super::engine::{FastPath, NotResolved};
use crate::instant::format_instant;

/// A point in time in RFC 3339 format. Responses use UTC with six fractional digits and `Z`:
/// `2026-11-22T10:42:39.123456Z`. Input may use any UTC offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub DateTime<Utc>);

/// A point in time in RFC 3339 format. Responses use UTC with six fractional digits and `Z`:
/// `2026-11-22T10:42:39.123456Z`. Input may use any UTC offset.
#[Scalar(name = "DateTime", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339")]
impl ScalarType for Instant {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        read_instant(text)
            .map(Self)
            .ok_or_else(|| InputValueError::custom("is not an RFC 3339 time such as 2026-11-22T10:42:39.123456Z"))
    }

    fn to_value(&self) -> Value {
        Value::String(format_instant(self.0))
    }
}

/// A UUID in RFC 9562 format with hyphens: `6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57`. Responses use lower case.
/// Input may use upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UuidText(pub Uuid);

/// A UUID in RFC 9562 format with hyphens: `6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57`. Responses use lower case.
/// Input may use upper case.
#[Scalar(name = "UUID", specified_by_url = "https://datatracker.ietf.org/doc/html/rfc9562")]
impl ScalarType for UuidText {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        read_uuid(text)
            .map(Self)
            .ok_or_else(|| InputValueError::custom("is not a UUID such as 6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned())
    }
}

/// Length of an instant in a response, in bytes.
const INSTANT_LENGTH: usize = "2026-11-22T10:42:39.123456Z".len();

impl FastPath for Instant {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.plain(INSTANT_LENGTH)?;
        Ok(self.to_value())
    }
}

impl FastPath for UuidText {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.plain(uuid::fmt::Hyphenated::LENGTH)?;
        Ok(self.to_value())
    }
}

/// Reads an instant in RFC 3339 format, with `T` between date and time. The RFC allows a space as well; this API does not.
pub fn read_instant(text: &str) -> Option<DateTime<Utc>> {
    // chrono accepts the minus sign U+2212 in place of a hyphen; the RFC is ASCII only.
    let at = Some(text).filter(|text| text.is_ascii() && !text.contains(' '))?;
    DateTime::parse_from_rfc3339(at).ok().map(|at| at.with_timezone(&Utc))
}

/// Reads a UUID with hyphens. The crate also accepts other forms, such as braces; this API does not.
pub fn read_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH)
}
