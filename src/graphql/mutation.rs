//! The mutations.

use async_graphql::{Context, Error, InputObject, Object, OneofObject, Result};
use tracing::{Instrument, trace_span};

use super::context::RequestContext;
use super::engine::{Fast, object};
use super::errors::messaging_error;
use super::message::{MessageObject, message_cursor};
use super::message_group::MessageGroupObject;
use super::scalars::UuidText;
use crate::live::activity::Activity;
use crate::messaging::{GroupView, NewMessage, Recipient};
use crate::model::{IdempotencyKey, MessageGroupUuid, UserUuid};

/// The root mutation type.
pub struct Mutation;

/// The message to send and its recipient.
#[derive(InputObject)]
pub struct CreateMessageInput {
    /// Recipient of the message: a user or an existing message group.
    to: MessageRecipient,
    /// Text of the message: 1 to 1024 Unicode code points. Must contain a code point that is not white space.
    body: String,
    /// Idempotency key of the message: a new random UUID that the client generates for each message. If a user sends
    /// several requests with the same key within 30 days, the server stores one message, and each of the requests
    /// returns that message. After an error, the client can therefore repeat the request with the same key. If the body
    /// or the conversation differs from that of the first request, the server rejects the request with the reason
    /// `idempotency_key_reused`.
    idempotency_key: Option<UuidText>,
    /// Unique identifier of the user for whom the message is intended. If `to` identifies a different user, because the
    /// handle now belongs to that user or because the message group has another participant, the server stores nothing
    /// and rejects the request with the reason `recipient_changed`.
    recipient_uuid: Option<UuidText>,
}

/// Recipient of a message. Exactly one of the fields must be set.
#[derive(OneofObject)]
pub enum MessageRecipient {
    /// Handle of the other user (exact match). Starts a conversation with that user, or continues the existing one.
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
        "message" message: &MessageObject = &self.message;
        /// The message group directly after this message: `lastMessage` is `message`, even if the group has newer
        /// messages now.
        "messageGroup" message_group: &MessageGroupObject = &self.message_group;
    }
}

/// The message group and the newest message to mark as read.
#[derive(InputObject)]
pub struct MarkReadInput {
    /// Unique identifier of a message group in which the signed-in user is a participant.
    message_group_uuid: UuidText,
    /// Cursor of the newest message to mark as read. Earlier messages of the group are marked as read too.
    up_to: String,
}

/// The result of `markRead`.
pub struct MarkReadPayload {
    message_group: MessageGroupObject,
}

object! {
    /// The result of `markRead`.
    "MarkReadPayload" for MarkReadPayload;
    fields(&self) {
        /// The message group, with its new `unreadCount` and `readCursor`.
        "messageGroup" message_group: Fast<&MessageGroupObject> = Fast(&self.message_group);
    }
}

/// The message group in which the user is typing.
#[derive(InputObject)]
pub struct SignalTypingInput {
    /// Unique identifier of a message group in which the signed-in user is a participant.
    message_group_uuid: UuidText,
}

/// The result of `signalTyping`.
pub struct SignalTypingPayload {
    message_group_uuid: MessageGroupUuid,
}

object! {
    /// The result of `signalTyping`.
    "SignalTypingPayload" for SignalTypingPayload;
    fields(&self) {
        /// Unique identifier of the message group.
        "messageGroupUuid" message_group_uuid: UuidText = UuidText(self.message_group_uuid.0);
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
        let message = NewMessage {
            to: match input.to {
                MessageRecipient::Handle(handle) => Recipient::Handle(handle),
                MessageRecipient::MessageGroupUuid(uuid) => Recipient::Group(MessageGroupUuid(uuid.0)),
            },
            body: input.body,
            recipient: input.recipient_uuid.map(|uuid| UserUuid(uuid.0)),
            idempotency_key: input.idempotency_key.map(|uuid| IdempotencyKey(uuid.0)),
        };
        let send = async {
            let requester = request.requester().await?;
            request.messaging().send(&requester, message).await.map_err(messaging_error)
        };
        // Boxed for the same reason as in `Query`.
        let sent = Box::pin(send.instrument(trace_span!("Mutation.createMessage"))).await?;
        request.set_message_stored();
        let message = MessageObject(sent.last_message.clone());
        Ok(Fast(CreateMessagePayload { message, message_group: sent.read_by_author().into() }))
    }

    /// Marks all messages of a message group up to a given message as read. If that message is already marked as read, the
    /// mutation changes nothing, because a read marker never moves backward. Sending a message also marks the earlier
    /// messages of its group as read.
    async fn mark_read(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message group and the newest message to mark as read.")] input: MarkReadInput,
    ) -> Result<Fast<MarkReadPayload>> {
        let request = RequestContext::of(context);
        let mark = async {
            let (requester, group) = (request.requester().await?, MessageGroupUuid(input.message_group_uuid.0));
            request.messaging().mark_read(&requester, group, &input.up_to).await.map_err(messaging_error)
        };
        // Boxed for the same reason as in `Query`.
        let marked = Box::pin(mark.instrument(trace_span!("Mutation.markRead"))).await?;
        publish_read_marker(request, &marked);
        Ok(Fast(MarkReadPayload { message_group: marked.into() }))
    }

    /// Signals that the signed-in user is typing. The other participant receives a `TypingStarted` in the subscription
    /// `activity`, at most once every 3 seconds for each message group. A client should repeat the signal every 4 seconds
    /// while the user is typing.
    async fn signal_typing(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message group in which the user is typing.")] input: SignalTypingInput,
    ) -> Result<Fast<SignalTypingPayload>> {
        let request = RequestContext::of(context);
        let group = MessageGroupUuid(input.message_group_uuid.0);
        let signal = async {
            let requester = request.requester().await?;
            let member = request.reads().member(&requester, group).await.map_err(messaging_error)?;
            let environment = request.messaging().environment();
            request.live().signal_typing(group, (&*requester).into(), member.other().uuid, environment);
            Ok::<_, Error>(())
        };
        Box::pin(signal.instrument(trace_span!("Mutation.signalTyping"))).await?;
        Ok(Fast(SignalTypingPayload { message_group_uuid: group }))
    }
}

/// Publishes the read marker of the signed-in user to both participants. Only the user receives the number of unread messages.
fn publish_read_marker(request: &RequestContext, group: &GroupView) {
    let Some(reading) = &group.reading else { return };
    let Some(marker) = &reading.marker else { return };
    let moved = |unread| Activity::ReadMarkerMoved {
        group: group.uuid,
        user: group.viewer.clone(),
        read_cursor: message_cursor(group.uuid, marker),
        unread,
    };
    request.live().publish(group.viewer.uuid, moved(Some(reading.unread())));
    if group.other.uuid != group.viewer.uuid {
        request.live().publish(group.other.uuid, moved(None));
    }
}
