//! The GraphQL schema over the [rules](crate::messaging): types, resolvers, and the one place that maps errors.

mod connection;
mod context;
mod errors;
pub mod limits;
mod mutation;
mod query;
mod scalars;
mod types;

use async_graphql::{EmptySubscription, SDLExportOptions, Schema, SchemaBuilder};

pub use self::context::RequestContext;
pub use self::errors::{Code, coded_error, name_uncoded};
use self::mutation::Mutation;
use self::query::Query;

/// The schema, ready to execute requests that carry a [`RequestContext`].
pub type MessagingSchema = Schema<Query, Mutation, EmptySubscription>;

/// How deep a request may nest; the introspection query of GraphiQL takes 13.
const MAX_DEPTH: usize = 16;
/// How many aliases a request may use.
const MAX_ALIASES: usize = 32;
/// How many directives a field may carry.
const MAX_DIRECTIVES: usize = 8;

fn builder() -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    Schema::build(Query, Mutation, EmptySubscription)
        .limit_depth(MAX_DEPTH)
        .limit_aliases(MAX_ALIASES)
        .limit_directives(MAX_DIRECTIVES)
}

/// Builds the schema. Without introspection, errors suggest no names either.
pub fn schema(introspection: bool) -> MessagingSchema {
    if introspection { builder().finish() } else { builder().disable_introspection().disable_suggestions().finish() }
}

/// The schema in the schema definition language: what `schema.graphql` holds.
pub fn sdl() -> String {
    let options = SDLExportOptions::new()
        .include_specified_by()
        .prefer_single_line_descriptions()
        .use_space_ident()
        .indent_width(2);
    let mut sdl = schema(true).sdl_with_options(options);
    sdl.truncate(sdl.trim_end().len());
    sdl.push('\n');
    sdl
}
