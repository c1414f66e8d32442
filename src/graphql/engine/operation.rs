//! Converts a valid operation to the form that the engine executes.
//!
//! Fields with the same response key are merged here, as CollectFields and MergeSelectionSets in the specification say. The
//! engine would resolve each of them separately and merge the results (`create_value_object` in [`container.rs`]): a
//! mutation that is selected twice would run twice, and if a list changed between two reads, an entry of the response could
//! have fields of two different objects.
//!
//! The engine's types are built directly, without the engine's parser. That parser rejects or misreads valid documents: it
//! handles comments incorrectly ([#1039]), and does not know descriptions and `\u{…}`.
//!
//! [`container.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/container.rs
//! [#1039]: https://github.com/async-graphql/async-graphql/issues/1039

use apollo_compiler::ast;
use apollo_compiler::executable::{Field, Operation, OperationType, Selection, SelectionSet};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::response::serde_json_bytes::ByteString;
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types as engine;
use async_graphql::{Name as EngineName, Pos, Positioned, Value as EngineConstant};
use async_graphql_value::{Number, Value as EngineValue};

/// Maximum number of levels of nested selections, including fragments. It is limited, because the execution of an operation
/// recurses over the levels.
pub const MAX_NESTING: usize = 64;

/// An operation in the form that the engine executes: a document with only this operation, without fragment definitions,
/// `@skip` and `@include`.
#[derive(Clone, Debug)]
pub struct EngineOperation(pub engine::ExecutableDocument);

/// Merges the selections of `operation` and converts it for the engine. `variables` are the coerced variables, which decide
/// `@skip` and `@include`. The document must be valid, and its size after the expansion of fragments must be limited.
pub fn engine_operation(
    schema: &Schema,
    document: &ExecutableDocument,
    operation: &Operation,
    variables: &JsonMap,
) -> EngineOperation {
    let writer = Writer { schema, document, variables };
    let set = &operation.selection_set;
    let definition = engine::OperationDefinition {
        ty: match operation.operation_type {
            OperationType::Query => engine::OperationType::Query,
            OperationType::Mutation => engine::OperationType::Mutation,
            OperationType::Subscription => engine::OperationType::Subscription,
        },
        variable_definitions: operation.variables.iter().filter_map(|it| variable_definition(it)).collect(),
        directives: Vec::new(),
        selection_set: Positioned::new(writer.selection_set(set.ty.as_str(), &[set]), Pos::default()),
    };
    let operations = engine::DocumentOperations::Single(Positioned::new(definition, Pos::default()));
    EngineOperation(engine::ExecutableDocument { operations, fragments: Default::default() })
}

/// Whether the variable `name` of a condition is true.
pub fn is_true(variables: &JsonMap, name: &Name) -> bool {
    variables.get(name.as_str()).is_some_and(|value| *value == JsonValue::Bool(true))
}

/// Converts the value of a coerced variable to the type of the engine.
pub fn engine_constant(value: JsonValue) -> EngineConstant {
    match value {
        JsonValue::Null => EngineConstant::Null,
        JsonValue::Bool(value) => EngineConstant::Boolean(value),
        JsonValue::Number(number) => EngineConstant::Number(number),
        JsonValue::String(text) => EngineConstant::String(text.as_str().to_owned()),
        JsonValue::Array(values) => EngineConstant::List(values.into_iter().map(engine_constant).collect()),
        JsonValue::Object(fields) => {
            let field = |(name, value): (ByteString, _)| (EngineName::new(name.as_str()), engine_constant(value));
            EngineConstant::Object(fields.into_iter().map(field).collect())
        }
    }
}

/// Converts selections to the types of the engine.
struct Writer<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    variables: &'a JsonMap,
}

/// The fields of an object by their response keys, in the order of the response.
type FieldsByKey<'a> = IndexMap<&'a Name, Vec<&'a Node<Field>>>;

impl<'a> Writer<'a> {
    /// Merges `sets`, which are all selections on the same value of the type `type_name`.
    fn selection_set(&self, type_name: &str, sets: &[&'a SelectionSet]) -> engine::SelectionSet {
        let items = match self.schema.types.get(type_name) {
            Some(ExtendedType::Interface(_) | ExtendedType::Union(_)) => {
                let possible: Vec<&'a Name> = self.possible_types(type_name).collect();
                possible.into_iter().filter_map(|object| self.inline_fragment(object, sets)).collect()
            }
            _ => self.fields(type_name, sets),
        };
        engine::SelectionSet { items }
    }

    fn possible_types(&self, abstract_type: &str) -> impl Iterator<Item = &'a Name> {
        let schema = self.schema;
        let abstract_type = abstract_type.to_owned();
        let objects = schema.types.iter().filter(|(_, definition)| definition.is_object());
        objects.map(|(name, _)| name).filter(move |name| schema.is_subtype(&abstract_type, name))
    }

    /// Returns the fields that are selected if a value of an interface or a union has the type `object`. `None` if there are
    /// none.
    fn inline_fragment(&self, object: &Name, sets: &[&'a SelectionSet]) -> Option<Positioned<engine::Selection>> {
        let items = self.fields(object, sets);
        if items.is_empty() {
            return None;
        }
        let on = Positioned::new(EngineName::new(object.as_str()), Pos::default());
        let fragment = engine::InlineFragment {
            type_condition: Some(Positioned::new(engine::TypeCondition { on }, Pos::default())),
            directives: Vec::new(),
            selection_set: Positioned::new(engine::SelectionSet { items }, Pos::default()),
        };
        let fragment = Positioned::new(fragment, Pos::default());
        Some(Positioned::new(engine::Selection::InlineFragment(fragment), Pos::default()))
    }

    fn fields(&self, object: &str, sets: &[&'a SelectionSet]) -> Vec<Positioned<engine::Selection>> {
        let mut fields = FieldsByKey::new();
        for set in sets {
            self.collect(object, set, &mut fields);
        }
        fields.into_values().filter_map(|same_key| self.field(&same_key)).collect()
    }

    fn collect(&self, object: &str, set: &'a SelectionSet, fields: &mut FieldsByKey<'a>) {
        for selection in set.selections.iter().filter(|selection| self.is_included(selection)) {
            let (condition, inner) = match selection {
                Selection::Field(field) => {
                    fields.entry(field.response_name()).or_default().push(field);
                    continue;
                }
                Selection::InlineFragment(fragment) => (fragment.type_condition.as_ref(), &fragment.selection_set),
                Selection::FragmentSpread(spread) => match self.document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => (Some(fragment.type_condition()), &fragment.selection_set),
                    None => continue,
                },
            };
            let applies = condition.is_none_or(|it| *it == object || self.schema.is_subtype(it, object));
            if applies {
                self.collect(object, inner, fields);
            }
        }
    }

    /// Returns one field for all selections with the same response key. Validation guarantees that they select the same field
    /// with the same arguments.
    fn field(&self, same_key: &[&'a Node<Field>]) -> Option<Positioned<engine::Selection>> {
        let field = *same_key.first()?;
        let pos = self.position(field.location());
        let sets: Vec<&'a SelectionSet> = same_key.iter().filter_map(|field| field.selection_set.as_ref()).collect();
        let selection_set = match sets.first() {
            Some(set) => self.selection_set(set.ty.as_str(), &sets),
            None => engine::SelectionSet::default(),
        };
        let name = |name: &Name| Positioned::new(EngineName::new(name.as_str()), self.position(name.location()));
        let argument = |argument: &Node<ast::Argument>| {
            let value = Positioned::new(engine_value(&argument.value), self.position(argument.value.location()));
            (name(&argument.name), value)
        };
        let field = engine::Field {
            alias: field.alias.as_ref().map(name),
            name: name(&field.name),
            arguments: field.arguments.iter().map(argument).collect(),
            directives: Vec::new(),
            selection_set: Positioned::new(selection_set, pos),
        };
        Some(Positioned::new(engine::Selection::Field(Positioned::new(field, pos)), pos))
    }

    fn is_included(&self, selection: &Selection) -> bool {
        let condition = |directive: &str| {
            let value = selection.directives().get(directive)?.specified_argument_by_name("if")?;
            match value.as_ref() {
                ast::Value::Boolean(value) => Some(*value),
                ast::Value::Variable(name) => Some(is_true(self.variables, name)),
                _ => None,
            }
        };
        condition("include").unwrap_or(true) && !condition("skip").unwrap_or(false)
    }

    /// Returns the position in the document of the client, for the locations of errors.
    fn position(&self, span: Option<SourceSpan>) -> Pos {
        let start = span.and_then(|span| span.line_column(&self.document.sources));
        start.map(|start| Pos { line: start.line, column: start.column }).unwrap_or_default()
    }
}

/// Converts the definition of a variable, by which the engine finds the variable. The default value is left out, because the
/// engine gets coerced variables.
fn variable_definition(variable: &ast::VariableDefinition) -> Option<Positioned<engine::VariableDefinition>> {
    let definition = engine::VariableDefinition {
        name: Positioned::new(EngineName::new(variable.name.as_str()), Pos::default()),
        var_type: Positioned::new(engine::Type::new(&variable.ty.to_string())?, Pos::default()),
        directives: Vec::new(),
        default_value: None,
    };
    Some(Positioned::new(definition, Pos::default()))
}

/// Converts a value in a document.
fn engine_value(value: &ast::Value) -> EngineValue {
    match value {
        ast::Value::Null => EngineValue::Null,
        ast::Value::Enum(name) => EngineValue::Enum(EngineName::new(name.as_str())),
        ast::Value::Variable(name) => EngineValue::Variable(EngineName::new(name.as_str())),
        ast::Value::String(text) => EngineValue::String(text.clone()),
        ast::Value::Int(number) => engine_number(number.as_str()),
        ast::Value::Float(number) => engine_number(number.as_str()),
        ast::Value::Boolean(value) => EngineValue::Boolean(*value),
        ast::Value::List(values) => EngineValue::List(values.iter().map(|value| engine_value(value)).collect()),
        ast::Value::Object(fields) => {
            let field =
                |(name, value): &(Name, Node<ast::Value>)| (EngineName::new(name.as_str()), engine_value(value));
            EngineValue::Object(fields.iter().map(field).collect())
        }
    }
}

/// Converts a number. The syntax is that of JSON. A number that exceeds the range of a double becomes null, but validation
/// has already rejected such a number, because no type of the schema allows it.
fn engine_number(text: &str) -> EngineValue {
    serde_json::from_str::<Number>(text).map_or(EngineValue::Null, EngineValue::Number)
}

#[cfg(test)]
mod tests;
