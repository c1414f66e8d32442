//! Lists whose errors tell where they are.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use futures::future::try_join_all;

/// A list. Of an error within an entry the engine's own gives the path of the entry, and not of the field that failed.
pub struct List<T>(pub Vec<T>);

impl<T: OutputType> OutputType for List<T> {
    fn type_name() -> Cow<'static, str> {
        <Vec<T> as OutputType>::type_name()
    }

    fn qualified_type_name() -> String {
        <Vec<T> as OutputType>::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <Vec<T> as OutputType>::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        let entries = self.0.iter().enumerate().map(async |(index, entry)| {
            // The entry's fields give their errors paths.
            entry.resolve(&context.with_index(index), field).await
        });
        try_join_all(entries).await.map(Value::List)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
