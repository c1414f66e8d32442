//! Mutations whose fields are merged before they are executed.
//!
//! A field that is selected twice under one key at the root of a mutation is one field, which runs once (section
//! CollectFields of the specification). The engine runs every selection by itself and merges the answers: a message would
//! be sent twice.

use std::collections::HashSet;

use apollo_compiler::executable::{Field, OperationType, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name, Node};

use super::Refused;

/// The document with its mutations merged, or `None` when there is nothing to merge.
///
/// # Errors
/// A selection that would be merged hangs on `@skip` or `@include`: which of them run is known only later.
pub fn merged(document: &ExecutableDocument) -> Result<Option<ExecutableDocument>, Refused> {
    let mut merged = document.clone();
    let mut changed = false;
    for operation in merged.operations.anonymous.iter_mut().chain(merged.operations.named.values_mut()) {
        if operation.operation_type != OperationType::Mutation {
            continue;
        }
        let mut root = Root { document, fields: Vec::new(), is_conditional: false };
        root.collect(&operation.selection_set, false);
        let keys: HashSet<&Name> = root.fields.iter().map(|field| field.response_name()).collect();
        if keys.len() == root.fields.len() {
            continue;
        }
        if root.is_conditional {
            let message = "A field that is selected twice at the root of a mutation cannot hang on @skip or @include.";
            return Err(Refused::one("mutation_ambiguous", message));
        }
        let fields = root.merge();
        operation.make_mut().selection_set.selections = fields.into_iter().map(Selection::Field).collect();
        changed = true;
    }
    Ok(changed.then_some(merged))
}

struct Root<'a> {
    document: &'a ExecutableDocument,
    /// In the order in which they stand, fragments written out.
    fields: Vec<Node<Field>>,
    is_conditional: bool,
}

impl Root<'_> {
    /// The measure has seen to it that this ends.
    fn collect(&mut self, set: &SelectionSet, conditional: bool) {
        for selection in &set.selections {
            let conditional = conditional || !selection.directives().is_empty();
            self.is_conditional |= conditional;
            match selection {
                Selection::Field(field) => self.fields.push(field.clone()),
                Selection::InlineFragment(fragment) => self.collect(&fragment.selection_set, conditional),
                Selection::FragmentSpread(spread) => {
                    let document = self.document;
                    if let Some(fragment) = document.fragments.get(&spread.fragment_name) {
                        self.collect(&fragment.selection_set, conditional);
                    }
                }
            }
        }
    }

    /// One field a key. Validation has seen to it that all of a key are the same field with the same arguments.
    fn merge(self) -> Vec<Node<Field>> {
        let mut merged: Vec<Node<Field>> = Vec::new();
        for field in self.fields {
            let Some(first) = merged.iter_mut().find(|it| it.response_name() == field.response_name()) else {
                merged.push(field);
                continue;
            };
            if let (Some(first), Some(more)) = (&mut first.make_mut().selection_set, &field.selection_set) {
                first.selections.extend(more.selections.iter().cloned());
            }
        }
        merged
    }
}
