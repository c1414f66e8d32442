//! The GraphQL schema over the [rules](crate::messaging): types, resolvers, and the one place that maps errors.

mod at_hand;
mod connection;
mod context;
pub mod documents;
mod errors;
mod list;
mod mutation;
mod query;
mod scalars;
mod types;

use async_graphql::{EmptySubscription, SDLExportOptions, Schema, ValidationMode};

pub use self::context::RequestContext;
pub use self::errors::{Code, coded_error, mark_outcome_unknown, name_uncoded, tell_stored};
use self::mutation::Mutation;
use self::query::Query;

/// The schema, ready to execute requests that carry a [`RequestContext`].
pub type MessagingSchema = Schema<Query, Mutation, EmptySubscription>;

/// Builds the schema. It executes documents that [`documents`] has validated and measured.
pub fn schema() -> MessagingSchema {
    let schema = Schema::build(Query, Mutation, EmptySubscription).validation_mode(ValidationMode::Fast);
    // What is nested too deep has been refused by then.
    schema.limit_recursive_depth(2 * documents::MOST_NESTED).finish()
}

/// The schema in the schema definition language: what `schema.graphql` holds.
pub fn sdl() -> String {
    let options = SDLExportOptions::new()
        .include_specified_by()
        .prefer_single_line_descriptions()
        .use_space_ident()
        .indent_width(2);
    let mut sdl = schema().sdl_with_options(options);
    sdl.truncate(sdl.trim_end().len());
    sdl.push('\n');
    sdl
}
