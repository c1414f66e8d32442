//! The values that the custom scalars of the schema accept.

use apollo_compiler::Name;

use super::error::Violations;
use crate::graphql::scalars::{read_instant, read_uuid};

/// Checks a value of the scalar `name`; `text` is `None` if the value is not a string. Other scalars are validated by
/// apollo-compiler.
pub fn check(name: &Name, text: Option<&str>) -> Result<(), Violations> {
    let (is_valid, example) = match name.as_str() {
        "DateTime" => (text.is_some_and(|it| read_instant(it).is_some()), "2026-11-22T10:42:39.123456Z"),
        "UUID" => (text.is_some_and(|it| read_uuid(it).is_some()), "6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57"),
        _ => return Ok(()),
    };
    if is_valid {
        return Ok(());
    }
    Err(Violations::one(format!("The value of a {name} must be a string such as \"{example}\".")))
}
