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

/// The root mutation type.
pub struct Mutation;

/// The message to send and its recipient.
#[derive(InputObject)]
pub struct CreateMessageInput {
    /// Recipient of the message: a user or an existing message group.
    to: MessageRecipient,
    /// Text of the message: 1 to 1024 Unicode code points, of which at least one is not white space.
    body: String,
}

/// Recipient of a message. Exactly one of the fields must be set.
#[derive(OneofObject)]
pub enum MessageRecipient {
    /// Handle of the other user, compared exactly. Starts a conversation with that user, or continues the one that exists.
    Handle(String),
    /// Unique identifier of a message group in which the signed-in user is a participant.
    MessageGroupUuid(UuidText),
}

/// The result of `createMessage`.
pub struct CreateMessagePayload(GroupView);

/// The result of `createMessage`.
#[Object]
impl CreateMessagePayload {
    /// The message that was stored.
    async fn message(&self) -> Quick<MessageObject> {
        Quick(MessageObject(self.0.last_message.clone()))
    }

    /// The message group of the message. Its `lastMessage` is the new message.
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

/// The root mutation type.
#[Object]
impl Mutation {
    /// Sends a message to a user or to an existing message group.
    async fn create_message(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message to send and its recipient.")] input: CreateMessageInput,
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
