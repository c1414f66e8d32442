//! The mutations.

use async_graphql::{Context, InputObject, Object, OneofObject, Result};
use tracing::{Instrument, trace_span};

use super::context::RequestContext;
use super::engine::{Fast, object};
use super::errors::messaging_error;
use super::message::MessageObject;
use super::message_group::MessageGroupObject;
use super::scalars::UuidText;
use crate::messaging::Recipient;
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
pub struct CreateMessagePayload {
    message: MessageObject,
    message_group: MessageGroupObject,
}

object! {
    /// The result of `createMessage`.
    "CreateMessagePayload" for CreateMessagePayload;
    fields(&self) {
        /// The message that was stored.
        "message" message: Fast<&MessageObject> = Fast(&self.message);
        /// The message group of the message. Its `lastMessage` is the new message.
        "messageGroup" message_group: Fast<&MessageGroupObject> = Fast(&self.message_group);
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
    ) -> Result<Fast<CreateMessagePayload>> {
        let request = RequestContext::of(context);
        let to = match input.to {
            MessageRecipient::Handle(handle) => Recipient::Handle(handle),
            MessageRecipient::MessageGroupUuid(uuid) => Recipient::Group(MessageGroupUuid(uuid.0)),
        };
        let send = async {
            let requester = request.requester().await?;
            request.messaging().send(&requester, to, input.body).await.map_err(messaging_error)
        };
        // Boxed for the same reason as in `Query`.
        let sent = Box::pin(send.instrument(trace_span!("Mutation.createMessage"))).await?;
        request.set_message_stored();
        let message = MessageObject(sent.last_message.clone());
        Ok(Fast(CreateMessagePayload { message, message_group: sent.into() }))
    }
}
