//! Objects whose selected fields are all in memory already, answered without a future for each field.
//!
//! The engine makes a boxed future of every field, and a page of twenty groups has some 260 of them: two thirds of what such
//! a request cost. What is selected of an object is usually at hand, the names of users included, since they are cached.
//! Where one field is not, the engine resolves the whole object its own way, so that batches and errors are as ever.

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::indexmap::map::Entry;
use async_graphql::parser::types::{Field, Selection, SelectionSet};
use async_graphql::registry::Registry;
use async_graphql::resolver_utils::resolve_container;
use async_graphql::{ContainerType, ContextSelectionSet, Name, OutputType, Positioned, ServerResult, Value};

/// An object that may have all that is selected of it.
pub trait AtHand: ContainerType {
    /// The selected fields, or `None` when one of them has to be resolved.
    fn at_hand(&self, context: &ContextSelectionSet<'_>) -> Option<Value>;
}

impl<T: AtHand> AtHand for &T {
    fn at_hand(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        T::at_hand(self, context)
    }
}

/// An object, asked first what it has at hand.
pub struct Quick<T>(pub T);

impl<T: AtHand> OutputType for Quick<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, _field: &Positioned<Field>) -> ServerResult<Value> {
        match self.0.at_hand(context) {
            Some(value) => Ok(value),
            None => resolve_container(context, &self.0).await,
        }
    }
}

/// The selected fields of an object of the type `type_name`, each as `value` gives it for the field's name.
///
/// `value` gets the field's own selection too, for objects in it. Fragments fit, since documents are validated
/// and no type of the schema is an interface or a union.
pub fn object<'a>(
    type_name: &'static str,
    context: &ContextSelectionSet<'a>,
    value: &impl Fn(&str, &'a Positioned<SelectionSet>) -> Option<Value>,
) -> Option<Value> {
    let mut fields = IndexMap::with_capacity(context.item.node.items.len());
    collect(type_name, context, value, &mut fields)?;
    Some(Value::Object(fields))
}

fn collect<'a>(
    type_name: &'static str,
    context: &ContextSelectionSet<'a>,
    value: &impl Fn(&str, &'a Positioned<SelectionSet>) -> Option<Value>,
    fields: &mut IndexMap<Name, Value>,
) -> Option<()> {
    let items = &context.item.node.items;
    for selection in items {
        match &selection.node {
            Selection::Field(field) => {
                let (key, field) = (&field.node.response_key().node, &field.node);
                // Selections of one field in two places are merged by the engine.
                let Entry::Vacant(place) = fields.entry(key.clone()) else { return None };
                let name = field.name.node.as_str();
                let found =
                    if name == "__typename" { Value::from(type_name) } else { value(name, &field.selection_set)? };
                place.insert(found);
            }
            Selection::InlineFragment(fragment) => {
                collect(type_name, &context.with_selection_set(&fragment.node.selection_set), value, fields)?;
            }
            Selection::FragmentSpread(spread) => {
                let fragment = context.query_env.fragments.get(&spread.node.fragment_name.node)?;
                collect(type_name, &context.with_selection_set(&fragment.node.selection_set), value, fields)?;
            }
        }
    }
    Some(())
}
