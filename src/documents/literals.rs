//! What apollo-compiler does not validate in the literals of a document: the custom scalars, input fields that are given
//! twice, and empty selection sets.

use apollo_compiler::ast::{Type, Value};
use apollo_compiler::executable::{Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};

use super::custom_scalars;
use super::error::Violations;

/// Checks the literals of a document.
pub fn check(schema: &Valid<Schema>, document: &ExecutableDocument) -> Result<(), Violations> {
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

fn selections(schema: &Valid<Schema>, set: &SelectionSet) -> Result<(), Violations> {
    if set.selections.is_empty() {
        return Err(Violations::one("There must be a selection between { and }."));
    }
    for selection in &set.selections {
        match selection {
            Selection::Field(field) => {
                for argument in &field.arguments {
                    let definition = field.definition.arguments.iter().find(|it| it.name == argument.name);
                    if let Some(definition) = definition {
                        literal(schema, &definition.ty, &argument.value)?;
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

fn literal(schema: &Valid<Schema>, ty: &Type, value: &Value) -> Result<(), Violations> {
    match value {
        Value::Null | Value::Variable(_) => Ok(()),
        Value::List(values) if ty.is_list() => {
            values.iter().try_for_each(|value| literal(schema, ty.item_type(), value))
        }
        Value::Object(fields) => {
            for (position, (name, _)) in fields.iter().enumerate() {
                if fields[..position].iter().any(|(before, _)| before == name) {
                    return Err(Violations::one(format!("There can be only one input field named \"{name}\".")));
                }
            }
            let Some(ExtendedType::InputObject(object)) = schema.types.get(ty.inner_named_type()) else {
                return custom_scalars::check(ty.inner_named_type(), None);
            };
            fields.iter().try_for_each(|(name, value)| match object.fields.get(name) {
                Some(field) => literal(schema, &field.ty, value),
                None => Ok(()),
            })
        }
        Value::String(text) => custom_scalars::check(ty.inner_named_type(), Some(text)),
        _ => custom_scalars::check(ty.inner_named_type(), None),
    }
}
