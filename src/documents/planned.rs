//! Stage 4: one operation of a valid document with its variables, ready to be executed.

use std::sync::Arc;

use apollo_compiler::executable::Operation;
use apollo_compiler::request::coerce_variable_values;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use async_graphql::parser::types::Selection;
use async_graphql::{Request, Variables};
use serde_json::{Map, Value};

use super::cost::cost;
use super::error::{PlanError, Violations};
use super::validated::{OperationInfo, Validated};
use super::variables;
use crate::graphql::engine::operation::{EngineOperation, engine_constant, engine_operation, is_true};

/// The operation of a valid document that a request executes.
pub struct ChosenOperation {
    /// What is known about it.
    pub info: Arc<OperationInfo>,
    validated: Arc<Validated>,
    name: Option<Name>,
}

/// An operation that is ready to be executed: always the validated and merged one, never the text of the client.
#[derive(Debug)]
pub struct Plan {
    operation: Arc<EngineOperation>,
    variables: Variables,
}

impl Plan {
    /// Number of root fields with this name.
    pub fn root_fields(&self, name: &str) -> usize {
        let roots = self.operation.0.operations.iter().flat_map(|(_, it)| &it.node.selection_set.node.items);
        roots.filter(|it| matches!(&it.node, Selection::Field(field) if field.node.name.node == name)).count()
    }

    /// The request that the engine executes.
    pub fn into_request(self) -> Request {
        let mut request = Request::new("").variables(self.variables);
        request.set_parsed_query(self.operation.0.clone());
        request
    }

    /// The same for a subscription, which is executed once for each event.
    pub fn request(&self) -> Request {
        Self { operation: self.operation.clone(), variables: self.variables.clone() }.into_request()
    }
}

/// Chooses the operation `name` of a document, or its only operation.
pub fn choose(validated: Arc<Validated>, name: Option<&str>) -> Result<ChosenOperation, PlanError> {
    let document = &validated.document;
    let operation = document.operations.get(name);
    let name = operation.map_err(|error| Violations::of_request(&error, &document.sources))?.name.clone();
    // Every operation of the document is in the map.
    let info = validated.operations[&name].info.clone();
    Ok(ChosenOperation { info, validated, name })
}

/// Plans an operation with the variables of the request.
pub fn plan(
    schema: &Valid<Schema>,
    ChosenOperation { info, validated, name }: &ChosenOperation,
    variables: Map<String, Value>,
    max_cost: u64,
) -> Result<Plan, PlanError> {
    let document = &validated.document;
    let operation = document.operations.get(name.as_deref());
    let operation = operation.map_err(|error| Violations::of_request(&error, &document.sources))?;
    let variables = coerce(schema, validated, operation, variables)?;
    let cost = info.fixed_cost.unwrap_or_else(|| cost(document, operation, &variables));
    if cost > max_cost {
        return Err(PlanError::TooExpensive { cost, maximum: max_cost });
    }
    let conditions: Vec<bool> = validated.conditions.iter().map(|name| is_true(&variables, name)).collect();
    // Every operation of the document is in the map.
    let merged_operations = &validated.operations[name].merged;
    let operation = merged_operations.get(conditions.as_slice()).unwrap_or_else(|| {
        let merged = Arc::new(engine_operation(schema, document, operation, &variables));
        merged_operations.insert(conditions, merged.clone());
        merged
    });
    let variables = Variables::from_value(engine_constant(JsonValue::Object(variables)));
    Ok(Plan { operation, variables })
}

/// The values of the operation's variables, with defaults.
fn coerce(
    schema: &Valid<Schema>,
    validated: &Validated,
    operation: &Operation,
    given: Map<String, Value>,
) -> Result<JsonMap, Violations> {
    if operation.variables.is_empty() {
        return Ok(JsonMap::new());
    }
    let given: JsonMap =
        given.into_iter().map(|(name, value)| (name.into(), variables::integers(value).into())).collect();
    let coerced = coerce_variable_values(schema, operation, &given)
        .map_err(|error| Violations::of_request(&error, &validated.document.sources))?
        .into_inner();
    variables::check(schema, operation, &coerced)?;
    let is_null = |name: &&Name| coerced.get(name.as_str()).is_some_and(JsonValue::is_null);
    match validated.conditions.iter().find(is_null) {
        Some(name) => Err(Violations::one(format!("@skip and @include need a Boolean, but ${name} is null."))),
        None => Ok(coerced),
    }
}
