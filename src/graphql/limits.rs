//! What a document may expand to, counted before anything walks it.
//!
//! The engine walks a fragment anew at every spread, in validation and in its own limits: a document of a few hundred
//! bytes whose fragments spread each other twice would keep it busy for hours.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, ServerError};

use super::errors::{Code, coded_error};

/// How many fields and fragments a document may have once every spread is written out. GraphiQL's introspection has 300.
const MAX_SELECTIONS: usize = 5_000;
/// How many fragments a document may define; the count below descends through them.
const MAX_FRAGMENTS: usize = 200;

/// Refuses a document that is too large when written out.
pub fn check(document: &ExecutableDocument) -> Result<(), ServerError> {
    let refusal = |what: &str, most: usize| {
        let message = format!("The document has more than {most} {what}.");
        coded_error(Code::BadUserInput, Some("document_too_large"), message)
    };
    if document.fragments.len() > MAX_FRAGMENTS {
        return Err(refusal("fragments", MAX_FRAGMENTS));
    }
    let mut counted = Counted { document, fragments: HashMap::new() };
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    let total = operations.chain(fragments).fold(0_usize, |sum, set| sum.saturating_add(counted.selections(set)));
    if total > MAX_SELECTIONS {
        Err(refusal("selections when its fragments are written out", MAX_SELECTIONS))
    } else {
        Ok(())
    }
}

struct Counted<'a> {
    document: &'a ExecutableDocument,
    /// What each fragment expands to; nothing while it is being counted, so that a circle ends. Validation refuses those.
    fragments: HashMap<&'a Name, usize>,
}

impl<'a> Counted<'a> {
    fn selections(&mut self, set: &'a SelectionSet) -> usize {
        set.items.iter().fold(0_usize, |sum, item| {
            let inner = match &item.node {
                Selection::Field(field) => self.selections(&field.node.selection_set.node),
                Selection::InlineFragment(fragment) => self.selections(&fragment.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            };
            sum.saturating_add(inner).saturating_add(1)
        })
    }

    fn fragment(&mut self, name: &'a Name) -> usize {
        if let Some(count) = self.fragments.get(name) {
            return *count;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        self.fragments.insert(name, 0);
        let count = self.selections(&fragment.node.selection_set.node);
        self.fragments.insert(name, count);
        count
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn bomb(levels: usize) -> String {
        let fragments: String =
            (0..levels).map(|it| format!("fragment F{it} on Query {{ ...F{0} ...F{0} }} ", it + 1)).collect();
        format!("{{ ...F0 }} {fragments} fragment F{levels} on Query {{ __typename }}")
    }

    #[test]
    fn a_document_is_measured_by_what_it_expands_to() {
        let checked = |text: &str| check(&parse_query(text).expect("a document")).is_ok();
        assert!(checked("{ a { b } ...F } fragment F on Query { c }"));
        assert!(checked("{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }"), "circles end");
        assert!(checked(&bomb(8)));
        for levels in [14, 64, 190] {
            assert!(!checked(&bomb(levels)), "{levels}");
        }
        let many: String = (0..300).map(|it| format!("fragment F{it} on Query {{ a }} ")).collect();
        assert!(!checked(&format!("{{ a }} {many}")));
    }
}
