//! Starts a subscription and executes it for each of its events, which event streams and sockets deliver.

use std::sync::Arc;

use async_graphql::{Response, ServerError, Value};
use serde::Serialize;
use tokio::time::timeout;

use super::api::Api;
use super::execution::permit;
use super::refusal::Refusal;
use crate::auth::VerifiedToken;
use crate::documents::Plan;
use crate::graphql::{self, Event, RequestContext, Source, Started, Step};
use crate::model::User;
use crate::outcome::{Code, Outcome};

/// A subscription that has started.
pub struct Subscription {
    api: Arc<Api>,
    plan: Plan,
    token: Option<VerifiedToken>,
    /// The user who subscribed.
    pub user: Arc<User>,
    source: Source,
}

/// Why a subscription has not started.
pub enum NotStarted {
    /// It was rejected before its execution, or the execution took too long.
    Refused(Refusal),
    /// Its execution failed. The errors are those of a response without `data`.
    Failed(Vec<ServerError>, Outcome),
}

/// The result of an event, as the client receives it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum EventResult {
    /// The event was executed.
    Executed(Response),
    /// The event was not executed, for example because its result is too large.
    NotExecuted {
        /// Errors of the event.
        errors: Vec<ServerError>,
    },
}

/// An event could not be executed at the moment: a store was unavailable, or the execution took longer than the time limit of a
/// request. The client must subscribe again, after its last cursor. If the subscription continued, the cursor of the next event
/// would hide that this one is missing.
#[derive(Debug)]
pub struct Interrupted(pub Vec<ServerError>);

impl Subscription {
    /// Starts a subscription within the time limit of a request. `last_event_id` is the cursor that a client of server-sent
    /// events sends when it connects again.
    pub async fn start(
        api: &Arc<Api>,
        plan: Plan,
        token: Option<VerifiedToken>,
        last_event_id: Option<String>,
    ) -> Result<Self, NotStarted> {
        let _permit = permit(api).map_err(NotStarted::Refused)?;
        let context = context(api, token.clone(), Step::start(api.live.clone(), last_event_id));
        let start = graphql::subscribe(&api.schema, plan.request(), &context);
        match timeout(api.limits.request_timeout(), start).await {
            Ok(Ok(Started { user, source })) => Ok(Self { api: api.clone(), plan, token, user, source }),
            Ok(Err((errors, outcome))) => Err(NotStarted::Failed(errors, outcome)),
            Err(_) => Err(NotStarted::Refused(Refusal::TimedOut { message: None })),
        }
    }

    /// Waits for the next event. If the returned future is dropped, no event is lost.
    pub async fn next(&mut self) -> Event {
        self.source.next(&self.api.messaging).await
    }

    /// Executes the subscription for an event.
    pub fn execute(&self, event: Event) -> impl Future<Output = Result<EventResult, Interrupted>> + Send + use<> {
        let (api, request) = (self.api.clone(), self.plan.request());
        let context = context(&api, self.token.clone(), Step::event(event));
        async move {
            let execution = graphql::execute_event(&api.schema, request, &context);
            match timeout(api.limits.request_timeout(), execution).await {
                Ok(Ok((Response { data: Value::Null, errors, .. }, Outcome::Failed(Code::Unavailable)))) => {
                    Err(Interrupted(errors))
                }
                Ok(Ok((response, _))) => Ok(EventResult::Executed(response)),
                Ok(Err(errors)) => Ok(EventResult::NotExecuted { errors }),
                Err(_) => Err(Interrupted(Refusal::TimedOut { message: None }.errors())),
            }
        }
    }
}

fn context(api: &Api, token: Option<VerifiedToken>, step: Step) -> Arc<RequestContext> {
    let messaging = api.messaging.for_query();
    RequestContext::new(messaging, api.live.clone(), token, api.limits.response_bytes, Some(step))
}
