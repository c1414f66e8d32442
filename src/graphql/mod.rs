//! The GraphQL schema: types and resolvers, one file for each type, and the conversion of errors. The resolvers call
//! the [messaging rules](crate::messaging). [`crate::documents`] parses, limits and validates a document before this
//! module executes it.

pub(crate) mod budget;
mod connection;
mod context;
pub mod engine;
mod errors;
mod feed;
mod message;
mod message_group;
mod mutation;
mod query;
mod reading;
pub mod scalars;
mod user;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_graphql::{EmptySubscription, Request, Response, SDLExportOptions, Schema, ServerError, ValidationMode};

pub use self::context::RequestContext;
pub use self::errors::{ApiError, MessageOutcome};
use self::mutation::Mutation;
use self::query::Query;
use crate::metrics::{self, Limit};
use crate::outcome::Outcome;

/// The schema, ready to execute planned operations.
pub type MessagingSchema = Schema<Query, Mutation, EmptySubscription>;

/// Builds the schema.
pub fn schema() -> MessagingSchema {
    // `crate::documents` has validated the document already, so the engine uses its fastest validation.
    let schema = Schema::build(Query, Mutation, EmptySubscription).validation_mode(ValidationMode::Fast);
    // If the type of a field is an interface, the planned operation has an additional inline fragment, which is one
    // more level.
    schema.limit_recursive_depth(2 * engine::operation::MAX_NESTING).finish()
}

/// Executes a planned query or mutation, and returns the response and its outcome.
///
/// # Errors
/// Returns the errors of a response without `data`: the engine did not execute the request, or the response is too
/// large.
pub async fn execute(
    schema: &MessagingSchema,
    request: Request,
    context: &Arc<RequestContext>,
) -> Result<(Response, Outcome), Vec<ServerError>> {
    let budget = context.budget();
    let mut execution = pin!(schema.execute(request.data(context.clone()).data(budget.clone())));
    // A nullable field catches the error of a value that is too large and becomes null, and the other fields would
    // continue. So this loop stops the execution.
    let executed = poll_fn(|context| match execution.as_mut().poll(context) {
        Poll::Pending if budget.is_exceeded() => Poll::Ready(Response::default()),
        executed => executed,
    });
    let mut response = executed.await;
    if budget.end_response() {
        metrics::limit_reached(Limit::ResponseBytes);
        return Err(vec![errors::response_too_large(budget.maximum(), context.has_stored_message())]);
    }
    let outcome = errors::finish(&mut response, context.has_stored_message())?;
    Ok((response, outcome))
}

/// Returns the schema in the schema definition language: the content of `schema.graphql`.
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
