//! What apollo-compiler does not check in the variables of a request: the custom scalars. A request with an invalid
//! variable has no effect at all.

use apollo_compiler::Schema;
use apollo_compiler::ast::Type;
use apollo_compiler::executable::Operation;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use serde_json::Value;

use super::custom_scalars;
use super::error::Violations;

/// Checks coerced variables.
pub fn check(schema: &Valid<Schema>, operation: &Operation, variables: &JsonMap) -> Result<(), Violations> {
    operation.variables.iter().try_for_each(|variable| match variables.get(variable.name.as_str()) {
        Some(value) => check_value(schema, &variable.ty, value),
        None => Ok(()),
    })
}

fn check_value(schema: &Valid<Schema>, ty: &Type, value: &JsonValue) -> Result<(), Violations> {
    match value {
        JsonValue::Null => Ok(()),
        JsonValue::Array(values) if ty.is_list() => {
            values.iter().try_for_each(|value| check_value(schema, ty.item_type(), value))
        }
        JsonValue::Object(fields) => {
            let Some(ExtendedType::InputObject(object)) = schema.types.get(ty.inner_named_type()) else {
                return custom_scalars::check(ty.inner_named_type(), None);
            };
            fields.iter().try_for_each(|(name, value)| match object.fields.get(name.as_str()) {
                Some(field) => check_value(schema, &field.ty, value),
                None => Ok(()),
            })
        }
        JsonValue::String(text) => custom_scalars::check(ty.inner_named_type(), Some(text.as_str())),
        _ => custom_scalars::check(ty.inner_named_type(), None),
    }
}

/// JSON does not distinguish 1.0 from 1, nor -0 from 0: a number without a fraction is an integer, in any notation.
pub fn integers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let is_integer = float.fract() == 0.0 && float.abs() <= f64::from(u32::MAX);
            // Within these bounds the conversion is exact.
            if is_integer { Value::from(float as i64) } else { Value::Number(number) }
        }
        Value::Array(values) => Value::Array(values.into_iter().map(integers).collect()),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, it)| (name, integers(it))).collect()),
        other => other,
    }
}
