//! What a document expands to, counted before anything walks it.
//!
//! Whoever walks a fragment anew at every spread can be kept busy for hours by a few hundred bytes whose fragments spread
//! each other twice. Here each fragment is measured once.

use std::collections::HashMap;

use apollo_compiler::executable::{Field, Fragment, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name};

use super::{Refused, too_nested};
use crate::config::limits::DocumentLimits;

/// How many fragments a document may define; the measure descends through them.
const MAX_FRAGMENTS: usize = 200;
/// How many selections may stand in each other, fragments and all: the limit of the engine's parser.
pub const MOST_NESTED: usize = 64;

/// Refuses a document that is too large.
pub fn check(document: &ExecutableDocument, limits: &DocumentLimits) -> Result<(), Refused> {
    if document.fragments.len() > MAX_FRAGMENTS {
        return Err(Refused::limit("fragments", "max_fragments_exceeded", MAX_FRAGMENTS));
    }
    let mut measured =
        Measured { document, fragments: HashMap::new(), aliases: 0, directives: 0, is_too_nested: false };
    let mut total = Measure::default();
    for operation in document.operations.iter() {
        measured.directives += operation.directives.len();
        measured.directives += operation.variables.iter().map(|variable| variable.directives.len()).sum::<usize>();
        total.add(measured.set(&operation.selection_set, 0));
    }
    for fragment in document.fragments.values() {
        // Those that nothing spreads are walked all the same.
        if !measured.fragments.contains_key(&fragment.name) {
            total.add(measured.fragment(fragment, 0));
        }
    }
    let Measured { aliases, directives, is_too_nested, .. } = measured;
    if is_too_nested {
        return Err(too_nested(MOST_NESTED));
    }
    if total.selections > limits.selections {
        let what = "selections when its fragments are written out";
        return Err(Refused::limit(what, "max_selections_exceeded", limits.selections));
    }
    for (found, most, what, reason) in [
        (total.depth, limits.depth, "levels of fields", "max_depth_exceeded"),
        (aliases, limits.aliases, "aliases", "max_aliases_exceeded"),
        (directives, limits.directives, "directives", "max_directives_exceeded"),
    ] {
        if found > most {
            return Err(Refused::limit(what, reason, most));
        }
    }
    Ok(())
}

/// Whether an operation asks for the schema.
pub fn introspects(document: &ExecutableDocument) -> bool {
    let asks = |field: &Field| matches!(field.name.as_str(), "__schema" | "__type");
    document.operations.iter().any(|operation| operation.root_fields(document).any(|field| asks(field)))
}

#[derive(Clone, Copy, Default)]
struct Measure {
    selections: usize,
    depth: usize,
}

impl Measure {
    fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.depth = self.depth.max(other.depth);
    }
}

struct Measured<'a> {
    document: &'a ExecutableDocument,
    /// What each fragment expands to; nothing while it is being measured, so that a circle ends. Validation refuses those.
    fragments: HashMap<&'a Name, Measure>,
    aliases: usize,
    directives: usize,
    is_too_nested: bool,
}

impl<'a> Measured<'a> {
    fn set(&mut self, set: &'a SelectionSet, nested: usize) -> Measure {
        let mut total = Measure::default();
        if nested >= MOST_NESTED {
            self.is_too_nested = true;
            return total;
        }
        for selection in &set.selections {
            self.directives += selection.directives().len();
            let inner = match selection {
                Selection::Field(field) => {
                    self.aliases += usize::from(field.alias.is_some());
                    let inner = field.selection_set.as_ref().map(|set| self.set(set, nested + 1)).unwrap_or_default();
                    Measure { depth: inner.depth.saturating_add(1), ..inner }
                }
                Selection::InlineFragment(fragment) => self.set(&fragment.selection_set, nested + 1),
                Selection::FragmentSpread(spread) => match self.document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => self.fragment(fragment, nested + 1),
                    None => Measure::default(),
                },
            };
            total.add(Measure { selections: inner.selections.saturating_add(1), ..inner });
        }
        total
    }

    fn fragment(&mut self, fragment: &'a Fragment, nested: usize) -> Measure {
        if let Some(measure) = self.fragments.get(&fragment.name) {
            return *measure;
        }
        self.fragments.insert(&fragment.name, Measure::default());
        self.directives += fragment.directives.len();
        let measure = self.set(&fragment.selection_set, nested);
        self.fragments.insert(&fragment.name, measure);
        measure
    }
}
