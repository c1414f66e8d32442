//! The mutations.

use async_graphql::{Context, ContextSelectionSet, InputObject, Object, OneofObject, Result, Value};
use tracing::{Instrument, trace_span};

use super::at_hand::{AtHand, Quick, object};
use super::context::RequestContext;
use super::errors::of_messaging;
use super::scalars::UuidText;
use super::types::{MessageGroupObject, MessageObject, group_at_hand, message_at_hand};
use crate::messaging::{GroupView, Recipient};
use crate::model::MessageGroupUuid;

/// What can be done.
pub struct Mutation;

/// A message to send.
#[derive(InputObject)]
pub struct CreateMessageInput {
    /// Whom it is for.
    to: MessageRecipient,
    /// The text: 1 to 1024 characters, not all of them white space.
    body: String,
}

/// Whom a message is for: exactly one of the two.
#[derive(OneofObject)]
pub enum MessageRecipient {
    /// The user with exactly this handle. Begins a conversation, or goes on with the one there is.
    Handle(String),
    /// A message group that the signed-in user takes part in.
    MessageGroupUuid(UuidText),
}

/// What was stored.
pub struct CreateMessagePayload(GroupView);

/// What was stored.
#[Object]
impl CreateMessagePayload {
    /// The message.
    async fn message(&self) -> Quick<MessageObject> {
        Quick(MessageObject(self.0.last_message.clone()))
    }

    /// Its message group, with the message as its last one.
    async fn message_group(&self) -> Quick<MessageGroupObject> {
        Quick(MessageGroupObject(self.0.clone()))
    }
}

impl AtHand for CreateMessagePayload {
    fn at_hand(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        object("CreateMessagePayload", context, &|name, selected| match name {
            "message" => message_at_hand(&context.with_selection_set(selected), &self.0.last_message),
            "messageGroup" => group_at_hand(&context.with_selection_set(selected), &self.0),
            _ => None,
        })
    }
}

/// What can be done.
#[Object]
impl Mutation {
    /// Sends a message to a user or to a message group.
    async fn create_message(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message and whom it is for.")] input: CreateMessageInput,
    ) -> Result<Quick<CreateMessagePayload>> {
        let request = RequestContext::of(context);
        let to = match input.to {
            MessageRecipient::Handle(handle) => Recipient::Handle(handle),
            MessageRecipient::MessageGroupUuid(uuid) => Recipient::Group(MessageGroupUuid(uuid.0)),
        };
        let send = async {
            let requester = request.requester().await?;
            request.messaging().send(&requester, to, input.body).await.map_err(of_messaging)
        };
        // On the heap, as in `Query`.
        let sent = Box::pin(send.instrument(trace_span!("Mutation.createMessage"))).await?;
        request.note_stored();
        Ok(Quick(CreateMessagePayload(sent)))
    }
}
