//! The mutations.

use async_graphql::{Context, InputObject, Object, OneofObject, Result, SimpleObject};
use tracing::{Instrument, trace_span};

use super::at_hand::Quick;
use super::context::RequestContext;
use super::errors::of_messaging;
use super::scalars::UuidText;
use super::types::{MessageGroupObject, MessageObject};
use crate::messaging::Recipient;
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
#[derive(SimpleObject)]
pub struct CreateMessagePayload {
    /// The message.
    message: Quick<MessageObject>,
    /// Its message group, with the message as its last one.
    message_group: Quick<MessageGroupObject>,
}

/// What can be done.
#[Object]
impl Mutation {
    /// Sends a message to a user or to a message group.
    async fn create_message(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message and whom it is for.")] input: CreateMessageInput,
    ) -> Result<CreateMessagePayload> {
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
        Ok(CreateMessagePayload {
            message: Quick(MessageObject(sent.message)),
            message_group: Quick(MessageGroupObject(sent.group)),
        })
    }
}
