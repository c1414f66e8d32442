//! What the validation leaves of values: those of our own scalars, input fields given twice, and numbers of JSON. A request
//! with a wrong value does nothing at all.

use apollo_compiler::ast::{Type, Value};
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Name, Schema};
use async_graphql::{Name as EngineName, Value as EngineValue};
use serde_json::Value as Json;

use super::{Refused, request_invalid};
use crate::graphql::scalars::{read_instant, read_uuid};

/// Refuses a literal that its scalar cannot be, an input field that is there twice, and an empty selection.
pub fn check(schema: &Valid<Schema>, document: &ExecutableDocument) -> Result<(), Refused> {
    for operation in document.operations.iter() {
        for variable in &operation.variables {
            if let Some(default) = &variable.default_value {
                literal(schema, &variable.ty, default)?;
            }
        }
        selections(schema, &operation.selection_set)?;
    }
    document.fragments.values().try_for_each(|fragment| selections(schema, &fragment.selection_set))
}

fn selections(schema: &Valid<Schema>, set: &SelectionSet) -> Result<(), Refused> {
    if set.selections.is_empty() {
        let message = "Between { and } there must be a selection.".to_owned();
        return Err(Refused(vec![request_invalid(message, Vec::new())]));
    }
    for selection in &set.selections {
        match selection {
            Selection::Field(field) => {
                for argument in &field.arguments {
                    let wanted = field.definition.arguments.iter().find(|it| it.name == argument.name);
                    if let Some(wanted) = wanted {
                        literal(schema, &wanted.ty, &argument.value)?;
                    }
                }
                if let Some(set) = &field.selection_set {
                    selections(schema, set)?;
                }
            }
            Selection::InlineFragment(fragment) => selections(schema, &fragment.selection_set)?,
            Selection::FragmentSpread(_) => {}
        }
    }
    Ok(())
}

fn literal(schema: &Valid<Schema>, ty: &Type, value: &Value) -> Result<(), Refused> {
    match value {
        Value::Null | Value::Variable(_) => Ok(()),
        Value::List(values) if ty.is_list() => {
            values.iter().try_for_each(|value| literal(schema, ty.item_type(), value))
        }
        Value::Object(fields) => {
            for (position, (name, _)) in fields.iter().enumerate() {
                if fields[..position].iter().any(|(before, _)| before == name) {
                    let message = format!("There can be only one input field named \"{name}\".");
                    return Err(Refused(vec![request_invalid(message, Vec::new())]));
                }
            }
            let Some(ExtendedType::InputObject(object)) = schema.types.get(ty.inner_named_type()) else {
                return scalar(ty.inner_named_type(), None);
            };
            fields.iter().try_for_each(|(name, value)| match object.fields.get(name) {
                Some(field) => literal(schema, &field.ty, value),
                None => Ok(()),
            })
        }
        Value::String(text) => scalar(ty.inner_named_type(), Some(text)),
        _ => scalar(ty.inner_named_type(), None),
    }
}

/// A value as the engine has it.
pub fn engine(value: JsonValue) -> EngineValue {
    match value {
        JsonValue::Null => EngineValue::Null,
        JsonValue::Bool(truth) => EngineValue::Boolean(truth),
        JsonValue::Number(number) => EngineValue::Number(number),
        JsonValue::String(text) => EngineValue::String(text.as_str().to_owned()),
        JsonValue::Array(values) => EngineValue::List(values.into_iter().map(engine).collect()),
        JsonValue::Object(fields) => EngineValue::Object(
            fields.into_iter().map(|(name, it)| (EngineName::new(name.as_str()), engine(it))).collect(),
        ),
    }
}

/// The variables that `@skip` and `@include` hang on.
pub fn conditions(document: &ExecutableDocument) -> Vec<Name> {
    let mut names = Vec::new();
    let sets = document.operations.iter().map(|operation| &operation.selection_set);
    for set in sets.chain(document.fragments.values().map(|fragment| &fragment.selection_set)) {
        gather_conditions(set, &mut names);
    }
    names
}

fn gather_conditions(set: &SelectionSet, names: &mut Vec<Name>) {
    for selection in &set.selections {
        for directive in selection.directives().iter() {
            for argument in &directive.arguments {
                if let Value::Variable(name) = argument.value.as_ref()
                    && !names.contains(name)
                {
                    names.push(name.clone());
                }
            }
        }
        match selection {
            Selection::Field(field) => {
                if let Some(set) = &field.selection_set {
                    gather_conditions(set, names);
                }
            }
            Selection::InlineFragment(fragment) => gather_conditions(&fragment.selection_set, names),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// JSON does not tell 1.0 from 1, nor -0 from 0: a number without a fraction is an integer, however it is spelt.
pub fn integers(value: Json) -> Json {
    match value {
        Json::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let is_integer = float.fract() == 0.0 && float.abs() <= f64::from(u32::MAX);
            // Within those bounds the conversion is exact.
            if is_integer { Json::from(float as i64) } else { Json::Number(number) }
        }
        Json::Array(values) => Json::Array(values.into_iter().map(integers).collect()),
        Json::Object(fields) => Json::Object(fields.into_iter().map(|(name, it)| (name, integers(it))).collect()),
        other => other,
    }
}

/// Refuses a variable that its scalar cannot be.
pub fn check_variables(schema: &Valid<Schema>, operation: &Operation, values: &JsonMap) -> Result<(), Refused> {
    operation.variables.iter().try_for_each(|variable| match values.get(variable.name.as_str()) {
        Some(value) => json(schema, &variable.ty, value),
        None => Ok(()),
    })
}

fn json(schema: &Valid<Schema>, ty: &Type, value: &JsonValue) -> Result<(), Refused> {
    match value {
        JsonValue::Null => Ok(()),
        JsonValue::Array(values) if ty.is_list() => {
            values.iter().try_for_each(|value| json(schema, ty.item_type(), value))
        }
        JsonValue::Object(fields) => {
            let Some(ExtendedType::InputObject(object)) = schema.types.get(ty.inner_named_type()) else {
                return scalar(ty.inner_named_type(), None);
            };
            fields.iter().try_for_each(|(name, value)| match object.fields.get(name.as_str()) {
                Some(field) => json(schema, &field.ty, value),
                None => Ok(()),
            })
        }
        JsonValue::String(text) => scalar(ty.inner_named_type(), Some(text.as_str())),
        _ => scalar(ty.inner_named_type(), None),
    }
}

/// `None` for a value that is no string.
fn scalar(name: &Name, text: Option<&str>) -> Result<(), Refused> {
    let (is_good, example) = match name.as_str() {
        "DateTime" => (text.is_some_and(|it| read_instant(it).is_some()), "2026-11-22T10:42:39.123456Z"),
        "UUID" => (text.is_some_and(|it| read_uuid(it).is_some()), "6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57"),
        _ => return Ok(()),
    };
    if is_good {
        return Ok(());
    }
    Err(Refused(vec![request_invalid(format!("A {name} is a string such as {example}."), Vec::new())]))
}
