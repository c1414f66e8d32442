//! What an operation costs: one for each field, ten for each that reads or writes a store, and what a connection shows
//! times the size of its page; introspection's lists count as well. So a hundred groups with forty messages each are priced as the fields of four thousand messages.

use std::collections::HashMap;

use apollo_compiler::ast::Value;
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::response::JsonMap;
use apollo_compiler::{ExecutableDocument, Name};

use crate::messaging::{DEFAULT_GROUPS_PAGE, DEFAULT_MESSAGES_PAGE, MAX_PAGE};

/// The price of a field that reads or writes a store.
const CALL: u64 = 10;
/// How long a list is that introspection shows, as far as prices go: there are more types, and fewer arguments.
const DESCRIBED: u64 = 5;

/// The price of an operation in which no variable says how large a page is; `None` of any other.
pub fn fixed_cost(document: &ExecutableDocument, operation: &Operation) -> Option<u64> {
    let mut priced = Priced::new(document, None);
    let cost = priced.set(&operation.selection_set);
    (!priced.asks_variables).then_some(cost)
}

/// The price of an operation with these variables.
pub fn cost(document: &ExecutableDocument, operation: &Operation, variables: &JsonMap) -> u64 {
    Priced::new(document, Some(variables)).set(&operation.selection_set)
}

struct Priced<'a> {
    document: &'a ExecutableDocument,
    variables: Option<&'a JsonMap>,
    /// The price of each fragment.
    fragments: HashMap<&'a Name, u64>,
    asks_variables: bool,
}

impl<'a> Priced<'a> {
    fn new(document: &'a ExecutableDocument, variables: Option<&'a JsonMap>) -> Self {
        Self { document, variables, fragments: HashMap::new(), asks_variables: false }
    }

    /// The measure has seen to it that this does not descend too far, nor in circles.
    fn set(&mut self, set: &'a SelectionSet) -> u64 {
        set.selections.iter().fold(0, |sum, selection| {
            sum.saturating_add(match selection {
                Selection::Field(field) => self.field(field, set.ty.as_str()),
                Selection::InlineFragment(fragment) => self.set(&fragment.selection_set),
                Selection::FragmentSpread(spread) => self.fragment(&spread.fragment_name),
            })
        })
    }

    fn fragment(&mut self, name: &'a Name) -> u64 {
        if let Some(cost) = self.fragments.get(name) {
            return *cost;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        let cost = self.set(&fragment.selection_set);
        self.fragments.insert(name, cost);
        cost
    }

    fn field(&mut self, field: &'a Field, parent: &str) -> u64 {
        let is_connection = is_connection(field.ty().inner_named_type());
        let calls = is_connection || (matches!(parent, "Query" | "Mutation") && !field.name.starts_with("__"));
        let own = if calls { CALL } else { 1 };
        let Some(set) = &field.selection_set else { return own };
        let within = self.set(set);
        // The page's size counts what stands below `nodes` and `edges`, and little else stands there.
        let times = match is_connection {
            true => self.page_size(field),
            false if field.ty().is_list() && parent.starts_with("__") => DESCRIBED,
            false => 1,
        };
        own.saturating_add(within.saturating_mul(times))
    }

    /// A size that is out of bounds is refused when executed, before anything is read.
    fn page_size(&mut self, field: &Field) -> u64 {
        let default = if field.name == "messageGroups" { DEFAULT_GROUPS_PAGE } else { DEFAULT_MESSAGES_PAGE };
        let given = ["first", "last"].iter().find_map(|name| {
            let value = field.arguments.iter().find(|argument| argument.name == *name)?.value.as_ref();
            match value {
                Value::Int(size) => size.try_to_i32().ok().map(i64::from),
                Value::Variable(name) => {
                    self.asks_variables = true;
                    self.variables?.get(name.as_str())?.as_i64()
                }
                _ => None,
            }
        });
        let size = given.and_then(|size| usize::try_from(size).ok()).unwrap_or(default);
        size.min(MAX_PAGE) as u64
    }
}

fn is_connection(name: &Name) -> bool {
    name.ends_with("Connection")
}
