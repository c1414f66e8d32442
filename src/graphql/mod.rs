//! The GraphQL schema: types and resolvers, one file for each type, and the conversion of errors. The resolvers call
//! the [messaging rules](crate::messaging). [`crate::documents`] parses, limits and validates a document before this
//! module executes it.

mod activity;
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
mod step;
mod subscription;
mod user;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_graphql::{Request, Response, SDLExportOptions, Schema, ServerError, ValidationMode};
use futures::StreamExt;

pub use self::context::RequestContext;
pub use self::errors::{ApiError, MessageOutcome};
use self::mutation::Mutation;
use self::query::Query;
pub use self::step::{Event, Source, Started, Step};
use self::subscription::Subscription;
use crate::metrics::{self, Limit};
use crate::outcome::{Code, Outcome};

/// The schema, ready to execute planned operations.
pub type MessagingSchema = Schema<Query, Mutation, Subscription>;

/// Builds the schema.
pub fn schema() -> MessagingSchema {
    // `crate::documents` has validated the document already, so the engine uses its fastest validation.
    let schema = Schema::build(Query, Mutation, Subscription).validation_mode(ValidationMode::Fast);
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
    // Boxed, because the future is large, and each future that contains it would be more than twice as large.
    limited(Box::pin(schema.execute(with_context(request, context))), context).await
}

/// Starts a planned subscription. The step of `context` must be [`Step::Start`].
///
/// # Errors
/// Returns the errors of the response without `data`, and the outcome: the subscription has not started.
pub async fn subscribe(
    schema: &MessagingSchema,
    request: Request,
    context: &Arc<RequestContext>,
) -> Result<Started, (Vec<ServerError>, Outcome)> {
    let mut responses = schema.execute_stream(with_context(request, context));
    let mut response = Response::default();
    while let Some(next) = responses.next().await {
        response.errors.extend(next.errors);
    }
    drop(responses);
    if let Some(started) = context.step().and_then(Step::take_started) {
        return Ok(started);
    }
    if response.errors.is_empty() {
        let message = "The subscription selects no field, because of @skip or @include.";
        response.errors.push(ApiError::bad_input("request_invalid", message).into());
    }
    match errors::finish(&mut response, false) {
        Ok(outcome) => Err((response.errors, outcome)),
        Err(errors) => Err((errors, Outcome::Failed(Code::BadUserInput))),
    }
}

/// Executes a planned subscription for one event. The step of `context` must be [`Step::Event`].
///
/// # Errors
/// As in [`execute`].
pub async fn execute_event(
    schema: &MessagingSchema,
    request: Request,
    context: &Arc<RequestContext>,
) -> Result<(Response, Outcome), Vec<ServerError>> {
    let mut responses = schema.execute_stream(with_context(request, context));
    limited(async { responses.next().await.unwrap_or_default() }, context).await
}

fn with_context(request: Request, context: &Arc<RequestContext>) -> Request {
    request.data(context.clone()).data(context.budget().clone())
}

/// Runs an execution within the size limit of its response.
async fn limited(
    execution: impl Future<Output = Response>,
    context: &RequestContext,
) -> Result<(Response, Outcome), Vec<ServerError>> {
    let budget = context.budget();
    let mut execution = pin!(execution);
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
