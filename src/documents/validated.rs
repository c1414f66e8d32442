//! Stage 3: a document that follows every rule of the specification, with what is known about its operations.

use std::collections::HashMap;
use std::sync::Arc;

use apollo_compiler::ast::{Value, VariableDefinition};
use apollo_compiler::executable::{Operation, OperationType, Selection, SelectionSet};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};
use quick_cache::sync::Cache;

use super::cost::fixed_cost;
use super::error::{ValidateError, Violations};
use super::literals;
use super::measured::Measured;
use crate::graphql::engine::operation::EngineOperation;

/// Maximum number of merged forms of an operation that are cached, one for each combination of its conditions.
const KEPT_COMBINATIONS: usize = 4;

/// A valid document.
pub struct Validated {
    pub(super) document: Valid<ExecutableDocument>,
    /// The variables that `@skip` and `@include` depend on.
    pub(super) conditions: Vec<Name>,
    pub(super) operations: HashMap<Option<Name>, ValidOperation>,
    /// Number of selections after the fragments are expanded.
    pub(super) selections: usize,
}

/// An operation of a valid document.
pub(super) struct ValidOperation {
    pub info: Arc<OperationInfo>,
    /// The merged operation, by the values of the conditions.
    pub merged: Cache<Vec<bool>, Arc<EngineOperation>>,
}

/// The data that is the same for every execution of an operation.
#[derive(Debug)]
pub struct OperationInfo {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is a query, a mutation or a subscription.
    pub kind: OperationType,
    /// The fields at its root, sorted, each once. They are names of the schema, not of the client.
    pub root_fields: Vec<String>,
    /// Its cost, unless the cost depends on a variable.
    pub(super) fixed_cost: Option<u64>,
}

impl Validated {
    /// For how many combinations of conditions the merged operations can be kept at most.
    pub(super) fn kept_combinations(&self) -> usize {
        if self.conditions.is_empty() { 1 } else { KEPT_COMBINATIONS }
    }
}

/// Validates a measured document.
pub fn validate(
    schema: &Valid<Schema>,
    Measured { mut document, selections }: Measured,
    introspection: bool,
) -> Result<Validated, ValidateError> {
    if !introspection && introspects(&document) {
        return Err(ValidateError::IntrospectionDisabled);
    }
    remove_null_defaults(&mut document);
    let document = document.validate(schema).map_err(|error| Violations::from(&error.errors))?;
    literals::check(schema, &document)?;
    let operation = |operation: &Node<Operation>| {
        let info = Arc::new(operation_info(&document, operation));
        (operation.name.clone(), ValidOperation { info, merged: Cache::new(KEPT_COMBINATIONS) })
    };
    let operations = document.operations.iter().map(operation).collect();
    Ok(Validated { conditions: conditions(&document), operations, document, selections })
}

/// Whether an operation selects a part of the schema.
fn introspects(document: &ExecutableDocument) -> bool {
    let mut root_fields = document.operations.iter().flat_map(|operation| operation.root_fields(document));
    root_fields.any(|field| matches!(field.name.as_str(), "__schema" | "__type"))
}

/// Validation accepts a nullable variable in a non-null position if the variable has a default value. A default of null must
/// not count.
fn remove_null_defaults(document: &mut ExecutableDocument) {
    let has_null_default = |variable: &VariableDefinition| {
        !variable.ty.is_non_null() && variable.default_value.as_ref().is_some_and(|it| it.is_null())
    };
    let operations = &mut document.operations;
    for operation in operations.anonymous.iter_mut().chain(operations.named.values_mut()) {
        if operation.variables.iter().any(|variable| has_null_default(variable)) {
            for variable in operation.make_mut().variables.iter_mut().filter(|variable| has_null_default(variable)) {
                variable.make_mut().default_value = None;
            }
        }
    }
}

fn operation_info(document: &ExecutableDocument, operation: &Operation) -> OperationInfo {
    let mut root_fields: Vec<String> = operation.root_fields(document).map(|field| field.name.to_string()).collect();
    root_fields.sort();
    root_fields.dedup();
    OperationInfo {
        name: operation.name.as_ref().map(Name::to_string),
        kind: operation.operation_type,
        root_fields,
        fixed_cost: fixed_cost(document, operation),
    }
}

/// The variables that `@skip` and `@include` depend on.
fn conditions(document: &ExecutableDocument) -> Vec<Name> {
    let mut names = Vec::new();
    let sets = document.operations.iter().map(|operation| &operation.selection_set);
    for set in sets.chain(document.fragments.values().map(|fragment| &fragment.selection_set)) {
        collect_conditions(set, &mut names);
    }
    names
}

fn collect_conditions(set: &SelectionSet, names: &mut Vec<Name>) {
    for selection in &set.selections {
        let arguments = selection.directives().iter().flat_map(|directive| &directive.arguments);
        for argument in arguments {
            if let Value::Variable(name) = argument.value.as_ref()
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        }
        match selection {
            Selection::Field(field) => {
                if let Some(set) = &field.selection_set {
                    collect_conditions(set, names);
                }
            }
            Selection::InlineFragment(fragment) => collect_conditions(&fragment.selection_set, names),
            Selection::FragmentSpread(_) => {}
        }
    }
}
