//! Executes planned queries and mutations, from requests over HTTP and from messages on sockets.

use async_graphql::Response;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::api::Api;
use super::refusal::Refusal;
use crate::auth::VerifiedToken;
use crate::documents::{OperationType, Plan};
use crate::graphql::{self, MessageOutcome, RequestContext};
use crate::metrics::{self, Limit};
use crate::outcome::Outcome;

/// Acquires a permit for an execution. If all permits are taken, rejects the request instead of waiting, because requests
/// that wait would delay all later requests.
pub fn permit(api: &Api) -> Result<SemaphorePermit<'_>, Refusal> {
    api.permits.try_acquire().map_err(|_| {
        metrics::limit_reached(Limit::RequestsInFlight);
        Refusal::Overloaded
    })
}

/// Executes a query or a mutation within the time limit of a request. `kind` must be one of these two.
pub async fn execute(
    api: &Api,
    kind: OperationType,
    plan: Plan,
    token: Option<VerifiedToken>,
) -> Result<(Response, Outcome), Refusal> {
    let _permit = permit(api)?;
    let is_query = kind == OperationType::Query;
    let messaging = if is_query { api.messaging.for_query() } else { api.messaging.for_mutation() };
    let has_one_message = plan.root_fields("createMessage") == 1;
    let context = RequestContext::new(messaging, api.live.clone(), token, api.limits.response_bytes, None);
    let execution = graphql::execute(&api.schema, plan.into_request(), &context);
    match timeout(api.limits.request_timeout(), execution).await {
        Ok(executed) => executed.map_err(Refusal::Engine),
        Err(_) if is_query => Err(Refusal::TimedOut { message: None }),
        Err(_) if has_one_message && context.has_stored_message() => {
            Err(Refusal::TimedOut { message: Some(MessageOutcome::Stored) })
        }
        // The server no longer waits for the write, but DynamoDB may have executed it. If the request has several messages, some
        // of them can be stored and others not.
        Err(_) => Err(Refusal::TimedOut { message: Some(MessageOutcome::Unknown) }),
    }
}
