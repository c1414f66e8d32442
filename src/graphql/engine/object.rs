//! The fast path: objects whose selected fields are all in memory are resolved without futures.
//!
//! The engine makes a boxed future for each field ([#1354], `Fields::add_set` in [`container.rs`]). A page of twenty message
//! groups has about 260 fields, and their futures were two thirds of the CPU time of the request. Most fields are in memory
//! when they are resolved, including the names of users, which are cached. If one selected field is not in memory, the
//! engine resolves the whole object, so batches of names and errors work as usual.
//!
//! The macro [`object`] declares each object once, for the engine and for the fast path: a field cannot be in only one of
//! them.
//!
//! [#1354]: https://github.com/async-graphql/async-graphql/issues/1354
//! [`container.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/container.rs

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::indexmap::map::Entry;
use async_graphql::parser::types::{Field, Selection};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, ID, Name, OutputType, Positioned, ServerResult, Value};

/// A value that may be in memory completely.
pub trait FastPath {
    /// The value with the selected fields, or `None` if a selected field is not in memory.
    fn resolve_now(&self, context: &ContextSelectionSet<'_>) -> Option<Value>;
}

impl<T: FastPath> FastPath for &T {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        T::resolve_now(self, context)
    }
}

impl<T: FastPath> FastPath for Option<T> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        self.as_ref().map_or(Some(Value::Null), |value| value.resolve_now(context))
    }
}

impl FastPath for &str {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>) -> Option<Value> {
        Some(Value::from(*self))
    }
}

impl FastPath for String {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }
}

impl FastPath for bool {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>) -> Option<Value> {
        Some(Value::from(*self))
    }
}

impl FastPath for ID {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>) -> Option<Value> {
        Some(Value::from(self.as_str()))
    }
}

/// An output value that takes the fast path if it can.
pub struct Fast<T>(pub T);

impl<T: FastPath + OutputType> OutputType for Fast<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match self.0.resolve_now(context) {
            Some(value) => Ok(value),
            None => self.0.resolve(context, field).await,
        }
    }
}

impl<T: FastPath> FastPath for Fast<T> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        self.0.resolve_now(context)
    }
}

/// Resolves the selected fields of an object of the type `type_name`. `resolve` gets the name of a field and the context of
/// the field's own selection.
pub fn resolve_fields(
    type_name: &str,
    context: &ContextSelectionSet<'_>,
    resolve: &impl Fn(&str, &ContextSelectionSet<'_>) -> Option<Value>,
) -> Option<Value> {
    let mut fields = IndexMap::with_capacity(context.item.node.items.len());
    collect_fields(type_name, context, resolve, &mut fields)?;
    Some(Value::Object(fields))
}

fn collect_fields(
    type_name: &str,
    context: &ContextSelectionSet<'_>,
    resolve: &impl Fn(&str, &ContextSelectionSet<'_>) -> Option<Value>,
    fields: &mut IndexMap<Name, Value>,
) -> Option<()> {
    for selection in &context.item.node.items {
        match &selection.node {
            Selection::Field(field) => {
                let field = &field.node;
                // The selections of a planned operation are merged, so a key that is there already is not expected.
                let Entry::Vacant(entry) = fields.entry(field.response_key().node.clone()) else { return None };
                entry.insert(match field.name.node.as_str() {
                    "__typename" => Value::from(type_name),
                    name => resolve(name, &context.with_selection_set(&field.selection_set))?,
                });
            }
            // A planned operation has inline fragments on object types only, one for each possible type.
            Selection::InlineFragment(fragment) => {
                let applies = fragment.node.type_condition.as_ref().is_none_or(|it| it.node.on.node == type_name);
                if applies {
                    let context = context.with_selection_set(&fragment.node.selection_set);
                    collect_fields(type_name, &context, resolve, fields)?;
                }
            }
            Selection::FragmentSpread(_) => return None,
        }
    }
    Some(())
}

/// Declares an object type of the schema, for the engine and for the fast path.
///
/// ```ignore
/// object! {
///     /// Description of the type.
///     "TypeName" for RustType;
///     fields(&self) {
///         /// Description of a field. Its value is in memory, or it is an object of its own.
///         "fieldName" field_name: FieldType = self.value;
///     }
///     resolvers {
///         // Fields with arguments and fields that read a store, as methods of `#[Object]`. They have no fast path.
///     }
/// }
/// ```
macro_rules! object {
    (
        $(#[doc = $($type_doc:tt)*])*
        $type_name:literal for $type:ty;
        fields(&$this:ident) {
            $(
                $(#[doc = $($field_doc:tt)*])*
                $name:literal $field:ident: $value:ty = $body:expr;
            )*
        }
        $(resolvers { $($resolvers:tt)* })?
    ) => {
        $(#[doc = $($type_doc)*])*
        #[async_graphql::Object(name = $type_name)]
        impl $type {
            $(
                $(#[doc = $($field_doc)*])*
                #[graphql(name = $name)]
                async fn $field(&$this) -> $value {
                    $body
                }
            )*
            $($($resolvers)*)?
        }

        impl $crate::graphql::engine::FastPath for $type {
            fn resolve_now(&$this, context: &async_graphql::ContextSelectionSet<'_>) -> Option<async_graphql::Value> {
                $crate::graphql::engine::object::resolve_fields($type_name, context, &|name, context| match name {
                    $($name => {
                        let value: $value = $body;
                        $crate::graphql::engine::FastPath::resolve_now(&value, context)
                    })*
                    _ => None,
                })
            }
        }
    };
}

pub(in crate::graphql) use object;

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_graphql::{Context, EmptyMutation, EmptySubscription, Object, Schema};

    use super::*;

    /// Counts how often the engine resolves a field.
    #[derive(Default)]
    struct Resolved(AtomicUsize);

    struct Thing;

    object! {
        /// A thing.
        "Thing" for Thing;
        fields(&self) {
            /// Its size.
            "size" size: bool = true;
            /// Another thing.
            "inner" inner: Fast<&Thing> = Fast(self);
        }
        resolvers {
            /// Read from somewhere.
            async fn read(&self, context: &Context<'_>) -> &'static str {
                context.data_unchecked::<Resolved>().0.fetch_add(1, Ordering::Relaxed);
                "read"
            }
        }
    }

    struct Query;

    #[Object]
    impl Query {
        async fn thing(&self) -> Fast<Thing> {
            Fast(Thing)
        }
    }

    /// Counts the allocations of each thread.
    struct Counting;

    thread_local! {
        static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call goes to the allocator of the system with the same arguments.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // A thread that ends has no counter any more.
            let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// The allocations of a request with 100 fields more, for each of them. `extra` is selected once.
    async fn allocations_of_a_field(extra: &str) -> usize {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription).data(Resolved::default()).finish();
        let allocations = async |fields: usize| {
            let selections: String = (0..fields).map(|number| format!("f{number}: size ")).collect();
            let parsed = async_graphql::parser::parse_query(format!("{{ thing {{ {extra} {selections} }} }}"));
            let mut request = async_graphql::Request::new("");
            request.set_parsed_query(parsed.expect("a document"));
            let before = ALLOCATIONS.get();
            assert!(schema.execute(request).await.is_ok());
            ALLOCATIONS.get() - before
        };
        (allocations(110).await - allocations(10).await) / 100
    }

    /// The problem of the engine. When this fails, an object without futures is not needed any more.
    #[tokio::test]
    async fn the_engine_still_allocates_futures_for_fields_that_are_in_memory() {
        let fast = allocations_of_a_field("size").await;
        let engine = allocations_of_a_field("read").await;
        assert!(engine > fast, "{engine} allocations of the engine for a field, {fast} of the fast path");
    }

    async fn execute(document: &str) -> (String, usize) {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription).data(Resolved::default()).finish();
        let response = schema.execute(document).await;
        assert!(response.is_ok(), "{response:?}");
        let resolved = schema.data::<Resolved>().expect("the counter").0.load(Ordering::Relaxed);
        (response.data.to_string(), resolved)
    }

    #[tokio::test]
    async fn the_fast_path_and_the_engine_give_the_same_object() {
        let (fast, resolved) = execute("{ thing { size inner { __typename s: size } } }").await;
        assert_eq!((fast.as_str(), resolved), ("{thing: {size: true, inner: {__typename: \"Thing\", s: true}}}", 0));
        let (mixed, resolved) = execute("{ thing { size inner { __typename s: size read } } }").await;
        let expected = "{thing: {size: true, inner: {__typename: \"Thing\", s: true, read: \"read\"}}}";
        assert_eq!((mixed.as_str(), resolved), (expected, 1));
    }
}
