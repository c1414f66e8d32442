//! The fast path: resolves an object without futures if all its selected fields are in memory.
//!
//! The engine allocates a boxed future for each field ([#1354], `Fields::add_set` in [`container.rs`]). A page of twenty
//! message groups has about 260 fields, and without the fast path their futures take two thirds of the CPU time of the
//! request. Most fields are in memory when they are resolved, including the names of users, which are cached. If a selected
//! field is not in memory, the engine resolves the whole object, so batches of names and errors work as usual.
//!
//! The macro [`object`] declares the fields of an object once, for the engine and for the fast path, so the two cannot
//! differ. An interface or a union is the engine's enum of its objects. Its fast path is that of the object.
//!
//! [#1354]: https://github.com/async-graphql/async-graphql/issues/1354
//! [`container.rs`]: https://github.com/async-graphql/async-graphql/blob/v8.0.0-rc.5/src/resolver_utils/container.rs

use std::borrow::Cow;

use async_graphql::indexmap::IndexMap;
use async_graphql::indexmap::map::Entry;
use async_graphql::parser::types::{Field, Selection};
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, ID, Name, OutputType, Positioned, ServerError, ServerResult, Value};

use crate::graphql::budget::{Meter, ResponseBudget, ResponseTooLarge};

/// A value that can be resolved without a future if its selected fields are in memory.
pub trait FastPath {
    /// Resolves the value with the selected fields. `meter` counts each value before it is built.
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved>;
}

/// Why the fast path has not resolved a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResolved {
    /// A selected field is not in memory.
    NotInMemory,
    /// The response is too large.
    TooLarge,
}

impl From<ResponseTooLarge> for NotResolved {
    fn from(_: ResponseTooLarge) -> Self {
        Self::TooLarge
    }
}

impl<T: FastPath> FastPath for &T {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        T::resolve_now(self, context, meter)
    }
}

impl<T: FastPath> FastPath for Option<T> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        match self {
            Some(value) => value.resolve_now(context, meter),
            None => Ok(meter.value().map(|()| Value::Null)?),
        }
    }
}

impl FastPath for &str {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.text(self)?;
        Ok(Value::from(*self))
    }
}

impl FastPath for String {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        self.as_str().resolve_now(context, meter)
    }
}

impl FastPath for i32 {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.value()?;
        Ok(Value::from(*self))
    }
}

impl FastPath for bool {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.value()?;
        Ok(Value::from(*self))
    }
}

impl FastPath for ID {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        self.as_str().resolve_now(context, meter)
    }
}

/// An output value that takes the fast path if possible. Otherwise the engine resolves it.
///
/// The macro [`object`] and [`List`](super::List) wrap their values. The return value of a resolver must be wrapped
/// explicitly.
pub struct Fast<T>(pub T);

/// The engine converts a field of an object to the type of the same field of an interface, which has no wrapper.
impl From<Fast<&str>> for String {
    fn from(Fast(text): Fast<&str>) -> Self {
        text.to_owned()
    }
}

impl<T: FastPath + OutputType> OutputType for Fast<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        let budget = ResponseBudget::of(context);
        // `graphql::limited` replaces the whole response, including this error.
        let too_large = || ServerError::new("The response is too large.", Some(field.pos));
        match budget.count(|meter| self.0.resolve_now(context, meter)) {
            Ok(value) => Ok(value),
            Err(NotResolved::TooLarge) => Err(too_large()),
            Err(NotResolved::NotInMemory) => {
                budget.count(Meter::value).map_err(|_| too_large())?;
                self.0.resolve(context, field).await
            }
        }
    }
}

impl<T: FastPath> FastPath for Fast<T> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        self.0.resolve_now(context, meter)
    }
}

/// Resolves the selected fields of an object of the type `type_name`. `resolve` resolves one field. Its arguments are the name
/// of the field, the context of the selection in the field, and the meter.
pub fn resolve_fields(
    type_name: &str,
    context: &ContextSelectionSet<'_>,
    meter: &mut Meter,
    resolve: &impl Fn(&str, &ContextSelectionSet<'_>, &mut Meter) -> Result<Value, NotResolved>,
) -> Result<Value, NotResolved> {
    meter.value()?;
    let mut fields = IndexMap::with_capacity(context.item.node.items.len());
    collect_fields(type_name, context, meter, resolve, &mut fields)?;
    Ok(Value::Object(fields))
}

fn collect_fields(
    type_name: &str,
    context: &ContextSelectionSet<'_>,
    meter: &mut Meter,
    resolve: &impl Fn(&str, &ContextSelectionSet<'_>, &mut Meter) -> Result<Value, NotResolved>,
    fields: &mut IndexMap<Name, Value>,
) -> Result<(), NotResolved> {
    for selection in &context.item.node.items {
        match &selection.node {
            Selection::Field(field) => {
                let field = &field.node;
                // Never happens: the selections of a planned operation are merged, so each key occurs once.
                let Entry::Vacant(entry) = fields.entry(field.response_key().node.clone()) else {
                    return Err(NotResolved::NotInMemory);
                };
                entry.insert(match field.name.node.as_str() {
                    "__typename" => type_name.resolve_now(context, meter)?,
                    name => resolve(name, &context.with_selection_set(&field.selection_set), meter)?,
                });
            }
            // A planned operation has inline fragments on object types only, one for each possible type.
            Selection::InlineFragment(fragment) => {
                let applies = fragment.node.type_condition.as_ref().is_none_or(|it| it.node.on.node == type_name);
                if applies {
                    let context = context.with_selection_set(&fragment.node.selection_set);
                    collect_fields(type_name, &context, meter, resolve, fields)?;
                }
            }
            Selection::FragmentSpread(_) => return Err(NotResolved::NotInMemory),
        }
    }
    Ok(())
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
                async fn $field(&$this) -> $crate::graphql::engine::Fast<$value> {
                    $crate::graphql::engine::Fast($body)
                }
            )*
            $($($resolvers)*)?
        }

        impl $crate::graphql::engine::FastPath for $type {
            fn resolve_now(
                &$this,
                context: &async_graphql::ContextSelectionSet<'_>,
                meter: &mut $crate::graphql::budget::Meter,
            ) -> Result<async_graphql::Value, $crate::graphql::engine::NotResolved> {
                $crate::graphql::engine::object::resolve_fields($type_name, context, meter, &|name, context, meter| {
                    match name {
                        $($name => {
                            let value: $value = $body;
                            $crate::graphql::engine::FastPath::resolve_now(&value, context, meter)
                        })*
                        _ => Err($crate::graphql::engine::NotResolved::NotInMemory),
                    }
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

    use async_graphql::{Context, EmptyMutation, EmptySubscription, Interface, Object, Schema};

    use super::*;
    use crate::graphql::engine::List;

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
            "inner" inner: &Thing = self;
        }
        resolvers {
            /// Read from somewhere.
            async fn read(&self, context: &Context<'_>) -> &'static str {
                context.data_unchecked::<Resolved>().0.fetch_add(1, Ordering::Relaxed);
                "read"
            }
        }
    }

    struct Other;

    object! {
        /// Another type with a size.
        "Other" for Other;
        fields(&self) {
            /// Its size.
            "size" size: bool = false;
        }
    }

    impl From<Fast<bool>> for bool {
        fn from(Fast(value): Fast<bool>) -> Self {
            value
        }
    }

    #[derive(Interface)]
    #[graphql(field(name = "size", ty = "bool"))]
    enum AnyThing {
        Thing(Thing),
        Other(Other),
    }

    impl FastPath for AnyThing {
        fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
            match self {
                Self::Thing(thing) => thing.resolve_now(context, meter),
                Self::Other(other) => other.resolve_now(context, meter),
            }
        }
    }

    struct Query;

    #[Object]
    impl Query {
        async fn thing(&self) -> Fast<Thing> {
            Fast(Thing)
        }

        async fn all(&self) -> List<Fast<AnyThing>> {
            [AnyThing::Thing(Thing), AnyThing::Other(Other)].into_iter().map(Fast).collect()
        }
    }

    fn schema() -> Schema<Query, EmptyMutation, EmptySubscription> {
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription).data(Resolved::default());
        schema.data(ResponseBudget::new(usize::MAX)).finish()
    }

    /// An allocator that counts the allocations of each thread.
    struct Counting;

    thread_local! {
        static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call goes to the allocator of the system with the same arguments.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // The error means that the thread is ending and has no counter any more.
            let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// Returns the number of allocations for each additional field of a request, measured with 100 additional fields. `extra`
    /// is a further field that is selected once.
    async fn allocations_of_a_field(extra: &str) -> usize {
        let schema = schema();
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

    /// Shows the problem of the engine. When this test fails, the fast path is no longer needed.
    #[tokio::test]
    async fn the_engine_still_allocates_futures_for_fields_that_are_in_memory() {
        let fast = allocations_of_a_field("size").await;
        let engine = allocations_of_a_field("read").await;
        assert!(engine > fast, "{engine} allocations of the engine for a field, {fast} of the fast path");
    }

    async fn execute(document: &str) -> (String, usize) {
        let schema = schema();
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
    #[tokio::test]
    async fn the_fast_path_and_the_engine_give_the_same_objects_of_an_interface() {
        for (read, reads) in [("", 0), ("read", 1)] {
            let of_thing = format!("... on Thing {{ __typename size inner {{ size }} {read} }}");
            let (data, resolved) =
                execute(&format!("{{ all {{ {of_thing} ... on Other {{ __typename s: size }} }} }}")).await;
            let read = if read.is_empty() { "" } else { ", read: \"read\"" };
            let thing = format!("{{__typename: \"Thing\", size: true, inner: {{size: true}}{read}}}");
            let other = "{__typename: \"Other\", s: false}";
            assert_eq!((data, resolved), (format!("{{all: [{thing}, {other}]}}"), reads));
        }
    }
}
