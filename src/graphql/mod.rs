//! The GraphQL schema over the [rules](crate::messaging): types and resolvers, one file for each type, and the one place that
//! maps errors. Documents are parsed, limited and validated by [`crate::documents`] before they come here.

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
    // Documents are validated before they are planned, so the engine validates as little as it can.
    let schema = Schema::build(Query, Mutation, EmptySubscription).validation_mode(ValidationMode::Fast);
    // A planned operation has an inline fragment beside a field where a field is an interface, which is one level more.
    schema.limit_recursive_depth(2 * engine::operation::MAX_NESTING).finish()
}

/// Executes a planned query or mutation.
///
/// # Errors
/// The errors of a response without `data`: the engine did not execute the request, or the response is too large.
pub async fn execute(
    schema: &MessagingSchema,
    request: Request,
    context: &Arc<RequestContext>,
) -> Result<(Response, Outcome), Vec<ServerError>> {
    let budget = context.budget();
    let mut execution = pin!(schema.execute(request.data(context.clone()).data(budget.clone())));
    // Nullable fields keep the error of a value that is too large to themselves, and the others would go on.
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

/// The schema in the schema definition language: the content of `schema.graphql`.
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
