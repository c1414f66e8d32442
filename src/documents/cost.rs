//! The cost of an operation, known before it is executed: 1 for each field, 10 for each field that reads or writes a store.
//! The selections of a page are multiplied by its size, those of an introspection list by a constant. So a hundred groups with
//! forty messages each cost as much as the fields of four thousand messages. Selections for different types of one interface
//! are added up, although a value has only one type.

use std::collections::HashMap;

use apollo_compiler::ast::Value;
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::response::JsonMap;
use apollo_compiler::{ExecutableDocument, Name};

use crate::messaging::{DEFAULT_FEED_PAGE, DEFAULT_GROUPS_PAGE, DEFAULT_MESSAGES_PAGE, MAX_PAGE};

/// Cost of a field that reads or writes a store.
const STORE_CALL: u64 = 10;
/// Assumed length of a list in an introspection: the schema has more types than this, and a field has fewer arguments.
const INTROSPECTION_LIST: u64 = 5;

/// The cost of an operation, or `None` if a variable decides the size of a page.
pub fn fixed_cost(document: &ExecutableDocument, operation: &Operation) -> Option<u64> {
    let mut calculator = Calculator::new(document, None);
    let cost = calculator.selection_set(&operation.selection_set);
    (!calculator.depends_on_variables).then_some(cost)
}

/// The cost of an operation with these variables.
pub fn cost(document: &ExecutableDocument, operation: &Operation, variables: &JsonMap) -> u64 {
    Calculator::new(document, Some(variables)).selection_set(&operation.selection_set)
}

struct Calculator<'a> {
    document: &'a ExecutableDocument,
    variables: Option<&'a JsonMap>,
    /// The cost of each fragment.
    fragments: HashMap<&'a Name, u64>,
    depends_on_variables: bool,
}

impl<'a> Calculator<'a> {
    fn new(document: &'a ExecutableDocument, variables: Option<&'a JsonMap>) -> Self {
        Self { document, variables, fragments: HashMap::new(), depends_on_variables: false }
    }

    /// The document is measured and valid, so the recursion is bounded and fragments have no cycles.
    fn selection_set(&mut self, set: &'a SelectionSet) -> u64 {
        set.selections.iter().fold(0, |sum, selection| {
            sum.saturating_add(match selection {
                Selection::Field(field) => self.field(field, set.ty.as_str()),
                Selection::InlineFragment(fragment) => self.selection_set(&fragment.selection_set),
                Selection::FragmentSpread(spread) => self.fragment(&spread.fragment_name),
            })
        })
    }

    fn fragment(&mut self, name: &'a Name) -> u64 {
        if let Some(cost) = self.fragments.get(name) {
            return *cost;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        let cost = self.selection_set(&fragment.selection_set);
        self.fragments.insert(name, cost);
        cost
    }

    fn field(&mut self, field: &'a Field, parent: &str) -> u64 {
        let is_page = is_page(field.ty().inner_named_type());
        let calls_store = is_page
            || (matches!(parent, "Query" | "Mutation" | "Subscription") && !field.name.starts_with("__"))
            || (parent == "MessageGroup" && field.name == "otherReadCursor");
        let own = if calls_store { STORE_CALL } else { 1 };
        let Some(set) = &field.selection_set else { return own };
        let within = self.selection_set(set);
        // The page size is the number of `nodes`, `edges` or `events`. `pageInfo` is counted as often, which is a small error.
        let times = match is_page {
            true => self.page_size(field),
            false if field.ty().is_list() && parent.starts_with("__") => INTROSPECTION_LIST,
            false => 1,
        };
        own.saturating_add(within.saturating_mul(times))
    }

    /// A page size that is out of bounds is rejected when the operation is executed, before anything is read.
    fn page_size(&mut self, field: &Field) -> u64 {
        let default = match field.name.as_str() {
            "messageGroups" => DEFAULT_GROUPS_PAGE,
            "feed" => DEFAULT_FEED_PAGE,
            _ => DEFAULT_MESSAGES_PAGE,
        };
        let given = ["first", "last"].iter().find_map(|name| {
            let value = field.arguments.iter().find(|argument| argument.name == *name)?.value.as_ref();
            match value {
                Value::Int(size) => size.try_to_i32().ok().map(i64::from),
                Value::Variable(name) => {
                    self.depends_on_variables = true;
                    self.variables?.get(name.as_str())?.as_i64()
                }
                _ => None,
            }
        });
        let size = given.and_then(|size| usize::try_from(size).ok()).unwrap_or(default);
        size.min(MAX_PAGE) as u64
    }
}

fn is_page(name: &Name) -> bool {
    name.ends_with("Connection") || name == "FeedPage"
}
