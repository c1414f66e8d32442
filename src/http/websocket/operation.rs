//! Runs one operation on a socket, as a stream of its messages.

use std::sync::Arc;

use async_graphql::ServerError;
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use serde::Serialize;
use tracing::{Instrument, info_span};

use super::protocol::ServerMessage;
use crate::auth::VerifiedToken;
use crate::documents::OperationType;
use crate::environment::random_uuid;
use crate::http::api::Api;
use crate::http::execution::execute;
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::request_log::RequestLog;
use crate::http::subscription::{Interrupted, NotStarted, Subscription};
use crate::outcome::{Code, Outcome};
use crate::task::in_task;
use crate::telemetry;

/// A message of the server that belongs to an operation.
pub struct Frame {
    /// The id of the operation.
    pub id: Arc<str>,
    /// The text of the message.
    pub text: String,
    /// Whether this is the last message of the operation.
    pub is_last: bool,
}

/// The state of an operation.
enum State {
    Start {
        api: Arc<Api>,
        token: VerifiedToken,
        parameters: Box<Parameters>,
    },
    Subscribed(Box<Subscription>, Box<RequestLog>),
    /// The result of a query or a mutation was returned. `complete` follows.
    Executed,
    Ended,
}

/// Runs an operation and returns the stream of its messages. The stream ends after the last message. Dropping the stream stops
/// the operation.
pub fn run(
    api: Arc<Api>,
    token: VerifiedToken,
    id: Arc<str>,
    parameters: Box<Parameters>,
) -> BoxStream<'static, Frame> {
    let later = tracing::field::Empty;
    let span = info_span!("operation", id = %random_uuid(), otel.kind = later, otel.name = later);
    telemetry::begin_operation(&span, "WebSocket /graphql");
    let start = State::Start { api, token, parameters };
    unfold(start, move |state| next(id.clone(), state).instrument(span.clone())).boxed()
}

async fn next(id: Arc<str>, mut state: State) -> Option<(Frame, State)> {
    if let State::Start { api, token, parameters } = state {
        // In a task, because the session polls its operations only while the client accepts data.
        match in_task(start(id.clone(), api, token, *parameters)).await {
            Started::Subscribed(subscription, log) => state = State::Subscribed(subscription, log),
            Started::Frame(frame, state) => return Some((frame, state)),
        }
    }
    match state {
        State::Subscribed(mut subscription, mut log) => {
            let event = subscription.next().await;
            let executed = in_task(subscription.execute(event)).await;
            Some(match executed {
                Ok(of_event) => {
                    log.delivered();
                    (result(&id, &of_event), State::Subscribed(subscription, log))
                }
                Err(Interrupted(errors)) => {
                    log.end(Outcome::Failed(Code::Unavailable));
                    (error(&id, &errors), State::Ended)
                }
            })
        }
        State::Executed => {
            let complete: ServerMessage<'_, ()> = ServerMessage::Complete { id: &id };
            let text = complete.to_text();
            Some((Frame { id, text, is_last: true }, State::Ended))
        }
        State::Start { .. } | State::Ended => None,
    }
}

/// The result of starting an operation.
enum Started {
    Subscribed(Box<Subscription>, Box<RequestLog>),
    /// The first message, and the state after it.
    Frame(Frame, State),
}

async fn start(id: Arc<str>, api: Arc<Api>, token: VerifiedToken, parameters: Parameters) -> Started {
    let mut log = RequestLog::start();
    let Parameters { document, operation_name, variables } = parameters;
    let planned = api.documents.find(&document, operation_name.as_deref()).and_then(|operation| {
        log.operation = Some(operation.info.clone());
        Ok((operation.info.kind, api.documents.plan(&operation, variables)?))
    });
    let (kind, plan) = match planned {
        Ok(planned) => planned,
        Err(error) => return Started::Frame(failed(&id, error.into(), log), State::Ended),
    };
    if kind == OperationType::Subscription {
        let frame = match Subscription::start(&api, plan, Some(token), None).await {
            Ok(subscription) => {
                log.subscribed();
                return Started::Subscribed(Box::new(subscription), Box::new(log));
            }
            Err(NotStarted::Refused(refusal)) => failed(&id, refusal, log),
            Err(NotStarted::Failed(errors, outcome)) => {
                log.end(outcome);
                error(&id, &errors)
            }
        };
        return Started::Frame(frame, State::Ended);
    }
    match execute(&api, kind, plan, Some(token)).await {
        Ok((response, outcome)) => {
            log.end(outcome);
            Started::Frame(result(&id, &response), State::Executed)
        }
        Err(refusal) => Started::Frame(failed(&id, refusal, log), State::Ended),
    }
}

fn failed(id: &Arc<str>, refusal: Refusal, log: RequestLog) -> Frame {
    log.end(Outcome::Failed(refusal.code()));
    error(id, &refusal.errors())
}

fn result(id: &Arc<str>, payload: &impl Serialize) -> Frame {
    let text = ServerMessage::Next { id, payload }.to_text();
    Frame { id: id.clone(), text, is_last: false }
}

/// Returns the last message of an operation that was not executed.
fn error(id: &Arc<str>, errors: &[ServerError]) -> Frame {
    Frame { id: id.clone(), text: error_text(id, errors), is_last: true }
}

/// Returns the text of an `error` message.
pub fn error_text(id: &str, errors: &[impl Serialize]) -> String {
    ServerMessage::Error { id, payload: errors }.to_text()
}
