//! Stage 2: counts what a document contains after its fragments are expanded. It runs before any code that expands them.
//!
//! A walk that follows each fragment spread again can take hours for a few hundred bytes whose fragments spread each other
//! twice. Here each fragment is measured once.

use std::collections::HashMap;

use apollo_compiler::executable::{Fragment, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name};

use super::error::{Limit, LimitExceeded};
use super::parsed::Parsed;
use crate::config::DocumentLimits;
use crate::graphql::engine::operation::MAX_NESTING;

/// Maximum number of fragments that a document may define. Measuring recurses over them.
const MAX_FRAGMENTS: usize = 200;

/// A document within the limits.
pub struct Measured {
    pub(super) document: ExecutableDocument,
    /// Number of selections after the fragments are expanded.
    pub(super) selections: usize,
}

/// Checks the limits of a parsed document.
pub fn measure(Parsed(document): Parsed, limits: &DocumentLimits) -> Result<Measured, LimitExceeded> {
    if document.fragments.len() > MAX_FRAGMENTS {
        return Err(LimitExceeded { limit: Limit::Fragments, maximum: MAX_FRAGMENTS });
    }
    let mut counter =
        Counter { document: &document, fragments: HashMap::new(), directives: 0, is_nested_too_deep: false };
    let mut total = Size::default();
    for operation in document.operations.iter() {
        counter.directives += operation.directives.len();
        counter.directives += operation.variables.iter().map(|variable| variable.directives.len()).sum::<usize>();
        total.add(counter.selection_set(&operation.selection_set, 0));
    }
    for fragment in document.fragments.values() {
        // A fragment that nothing spreads is validated too.
        if !counter.fragments.contains_key(&fragment.name) {
            total.add(counter.fragment(fragment, 0));
        }
    }
    let Counter { directives, is_nested_too_deep, .. } = counter;
    for (is_exceeded, limit, maximum) in [
        (is_nested_too_deep, Limit::Nesting, MAX_NESTING),
        (total.selections > limits.selections, Limit::Selections, limits.selections),
        (total.depth > limits.depth, Limit::Depth, limits.depth),
        (total.aliases > limits.aliases, Limit::Aliases, limits.aliases),
        (directives > limits.directives, Limit::Directives, limits.directives),
    ] {
        if is_exceeded {
            return Err(LimitExceeded { limit, maximum });
        }
    }
    Ok(Measured { document, selections: total.selections })
}

/// The size of a selection set after its fragments are expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    depth: usize,
    /// Nesting of the selection sets, also of those of fragments.
    height: usize,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.depth = self.depth.max(other.depth);
        self.height = self.height.max(other.height);
    }
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    /// The size of each fragment. A fragment has no size while it is being measured, so a cycle of fragments ends here;
    /// validation rejects it later.
    fragments: HashMap<&'a Name, Size>,
    directives: usize,
    is_nested_too_deep: bool,
}

impl<'a> Counter<'a> {
    fn selection_set(&mut self, set: &'a SelectionSet, nesting: usize) -> Size {
        let mut total = Size::default();
        if nesting >= MAX_NESTING {
            self.is_nested_too_deep = true;
            return total;
        }
        for selection in &set.selections {
            self.directives += selection.directives().len();
            let inner = match selection {
                Selection::Field(field) => {
                    let inner = field.selection_set.as_ref().map(|set| self.selection_set(set, nesting + 1));
                    let inner = inner.unwrap_or_default();
                    let aliases = inner.aliases.saturating_add(usize::from(field.alias.is_some()));
                    Size { aliases, depth: inner.depth.saturating_add(1), ..inner }
                }
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.selection_set, nesting + 1),
                Selection::FragmentSpread(spread) => match self.document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => self.fragment(fragment, nesting + 1),
                    None => Size::default(),
                },
            };
            let (selections, height) = (inner.selections.saturating_add(1), inner.height.saturating_add(1));
            total.add(Size { selections, height, ..inner });
        }
        total
    }

    fn fragment(&mut self, fragment: &'a Fragment, nesting: usize) -> Size {
        if let Some(size) = self.fragments.get(&fragment.name) {
            // The fragment was measured where it may be less nested.
            self.is_nested_too_deep |= nesting.saturating_add(size.height) > MAX_NESTING;
            return *size;
        }
        self.fragments.insert(&fragment.name, Size::default());
        self.directives += fragment.directives.len();
        let size = self.selection_set(&fragment.selection_set, nesting);
        self.fragments.insert(&fragment.name, size);
        size
    }
}
