//! Lists whose errors have the path of the field that failed.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, ServerResult, Value};
use futures::future::try_join_all;

use super::{Fast, FastPath, NotResolved};
use crate::graphql::budget::Meter;

/// A list. The engine's own list (`resolve_list` in [`list.rs`]) replaces the path of an error inside an entry by the path
/// of the entry, so a client could not see which field failed.
///
/// [`list.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/list.rs
pub struct List<T>(pub Vec<T>);

impl<T: FastPath + OutputType> OutputType for List<T> {
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
            // The fields of the entry set the path of an error. It must not be set again here.
            Fast(entry).resolve(&context.with_index(index), field).await
        });
        try_join_all(entries).await.map(Value::List)
    }
}

impl<T: FastPath> FastPath for List<T> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.value()?;
        self.0.iter().map(|entry| entry.resolve_now(context, meter)).collect::<Result<_, _>>().map(Value::List)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Error, Object, PathSegment, Result, Schema};

    use super::*;
    use crate::graphql::budget::ResponseBudget;
    use crate::graphql::engine::object;

    struct Query;
    struct Entry;

    object! {
        /// An entry.
        "Entry" for Entry;
        fields(&self) {
            /// Its size.
            "size" size: bool = true;
        }
        resolvers {
            /// Fails.
            async fn fails(&self) -> Result<i32> {
                Err(Error::new("failed"))
            }
        }
    }

    #[Object]
    impl Query {
        async fn ours(&self) -> List<Entry> {
            List(vec![Entry])
        }

        async fn engines(&self) -> Vec<Entry> {
            vec![Entry]
        }
    }

    async fn path_of_error(document: &str) -> Vec<PathSegment> {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription);
        let schema = schema.data(ResponseBudget::new(usize::MAX)).finish();
        let errors = schema.execute(document).await.errors;
        errors.into_iter().next().expect("an error").path
    }

    #[tokio::test]
    async fn an_error_in_a_list_has_the_path_of_its_field() {
        let field = |name: &str| PathSegment::Field(name.to_owned());
        let path = path_of_error("{ ours { fails } }").await;
        assert_eq!(path, [field("ours"), PathSegment::Index(0), field("fails")]);
    }

    /// Shows the problem of the engine. When this test fails, [`List`] can be replaced by `Vec`.
    #[tokio::test]
    async fn the_engines_list_still_cuts_the_path_off() {
        let path = path_of_error("{ engines { fails } }").await;
        assert_eq!(path, [PathSegment::Field("engines".to_owned()), PathSegment::Index(0)]);
    }
}
