//! Selections merged before a document is executed.
//!
//! What is selected twice of one object under one key is one field, which is resolved once (the specification's
//! CollectFields and MergeSelectionSets). The engine resolves every selection by itself and lays the answers over each
//! other: a message would be sent twice, and where a list moves between two readings, each entry of the answer would be one
//! half of the one and one half of the other.

use apollo_compiler::ast::{Argument, Directive, DirectiveList, Value};
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::{ExecutableDocument, Name, Node, name};
use async_graphql::indexmap::IndexMap;

use super::operations_mut;

/// A document without fragments, conditions and repetitions.
pub struct Merged {
    /// The document.
    pub document: ExecutableDocument,
    /// How many selections it has.
    pub selections: usize,
    /// Whether an object was selected twice. Of values nothing tears, and nothing runs twice.
    pub is_needed: bool,
}

/// Merges the selections of a document, as far as its conditions let them: those that hang on `variables` by their values,
/// all of them without. The measure has seen to it that this ends.
pub fn merged(document: &ExecutableDocument, variables: Option<&JsonMap>) -> Merged {
    let mut merging = Merging { document, variables, selections: 0, is_needed: false };
    let mut merged = document.clone();
    merged.fragments.clear();
    for operation in operations_mut(&mut merged) {
        let selections = merging.selections(&[&operation.selection_set]);
        operation.make_mut().selection_set.selections = selections;
    }
    Merged { document: merged, selections: merging.selections, is_needed: merging.is_needed }
}

/// Whether the variable that a condition hangs on is true.
pub fn is_true(variables: &JsonMap, name: &Name) -> bool {
    variables.get(name.as_str()).is_some_and(|value| *value == JsonValue::Bool(true))
}

struct Merging<'a> {
    document: &'a ExecutableDocument,
    variables: Option<&'a JsonMap>,
    selections: usize,
    is_needed: bool,
}

type Fields<'s> = IndexMap<&'s Name, Vec<&'s Node<Field>>>;

impl Merging<'_> {
    /// One selection for each key of what is selected of one object in several places. Validation has seen to it that all
    /// of a key are the same field with the same arguments.
    fn selections(&mut self, sets: &[&SelectionSet]) -> Vec<Selection> {
        let mut fields = Fields::new();
        for set in sets {
            self.collect(set, &mut fields);
        }
        if fields.is_empty() {
            // Nothing is left of it, which the language cannot write.
            return sets.iter().find_map(|set| self.any_field(set)).map(nothing).into_iter().collect();
        }
        self.selections += fields.len();
        let one = |of_key: Vec<&Node<Field>>| {
            let sets: Vec<&SelectionSet> = of_key.iter().filter_map(|field| field.selection_set.as_ref()).collect();
            self.is_needed |= sets.len() > 1;
            let first = of_key.first()?;
            let mut field = Field::clone(first);
            field.directives = DirectiveList::new();
            if let Some(set) = &mut field.selection_set {
                set.selections = self.selections(&sets);
            }
            Some(Selection::Field(Node::new(field)))
        };
        fields.into_values().filter_map(one).collect()
    }

    /// Fragments are written out: no type of the schema is an interface or a union, so that all of them apply.
    fn collect<'s>(&self, set: &'s SelectionSet, fields: &mut Fields<'s>)
    where
        Self: 's,
    {
        for selection in &set.selections {
            if !self.is_there(selection.directives()) {
                continue;
            }
            match selection {
                Selection::Field(field) => fields.entry(field.response_name()).or_default().push(field),
                Selection::InlineFragment(fragment) => self.collect(&fragment.selection_set, fields),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.collect(&fragment.selection_set, fields);
                    }
                }
            }
        }
    }

    fn any_field(&self, set: &SelectionSet) -> Option<Field> {
        set.selections.iter().find_map(|selection| match selection {
            Selection::Field(field) => Some(Field::clone(field)),
            Selection::InlineFragment(fragment) => self.any_field(&fragment.selection_set),
            Selection::FragmentSpread(spread) => {
                self.any_field(&self.document.fragments.get(&spread.fragment_name)?.selection_set)
            }
        })
    }

    fn is_there(&self, directives: &DirectiveList) -> bool {
        let holds = |name: &str| {
            let value = directives.get(name)?.specified_argument_by_name("if")?;
            match value.as_ref() {
                Value::Boolean(value) => Some(*value),
                Value::Variable(name) => Some(is_true(self.variables?, name)),
                _ => None,
            }
        };
        holds("include").unwrap_or(true) && !holds("skip").unwrap_or(false)
    }
}

/// A selection that is never there.
fn nothing(mut field: Field) -> Selection {
    let argument = Argument { name: name!("if"), value: Node::new(Value::Boolean(true)) };
    let never = Directive { name: name!("skip"), arguments: vec![Node::new(argument)] };
    field.directives = DirectiveList(vec![Node::new(never)]);
    field.selection_set = None;
    Selection::Field(Node::new(field))
}
