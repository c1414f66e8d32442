//! Users, messages and message groups as clients see them.

use async_graphql::{Context, ContextSelectionSet, ID, Object, Result, ScalarType, SimpleObject, Value};
use tracing::{Instrument, trace_span};

use super::at_hand::{AtHand, Quick, object};
use super::connection::MessageConnection;
use super::context::RequestContext;
use super::errors::of_messaging;
use super::scalars::{Instant, UuidText};
use crate::messages_table::Message;
use crate::messaging::{GroupView, MessagingError, PageRequest, Window};
use crate::model::{MessageGroupUuid, Participant, User};

/// A user of the app.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "User")]
pub struct UserObject {
    /// Unique identifier of the user. Equal to `uuid`.
    id: ID,
    /// Unique identifier of the user. Never changes.
    uuid: UuidText,
    /// Unique handle of the user. The user can change it.
    handle: String,
    /// Name of the user to show in a user interface.
    display_name: String,
}

impl From<&User> for UserObject {
    fn from(user: &User) -> Self {
        let User { uuid, handle, display_name } = user.clone();
        Self { id: uuid.0.into(), uuid: UuidText(uuid.0), handle, display_name }
    }
}

impl From<&Participant> for UserObject {
    fn from(participant: &Participant) -> Self {
        let Participant { uuid, names } = participant;
        Self {
            id: uuid.0.into(),
            uuid: UuidText(uuid.0),
            handle: names.handle.clone(),
            display_name: names.display_name.clone(),
        }
    }
}

/// A participant whose present names are cached.
fn participant_at_hand(context: &ContextSelectionSet<'_>, participant: &Participant) -> Option<Value> {
    let user = RequestContext::of(context).user_at_hand(participant.uuid)?;
    object("User", context, &|name, _| match name {
        "id" | "uuid" => Some(UuidText(user.uuid.0).to_value()),
        "handle" => Some(user.handle.as_str().into()),
        "displayName" => Some(user.display_name.as_str().into()),
        _ => None,
    })
}

/// A message in a message group.
pub struct MessageObject(pub Message);

/// A message in a message group.
#[Object(name = "Message")]
impl MessageObject {
    /// Unique identifier of the message. Equal to `uuid`.
    async fn id(&self) -> ID {
        self.0.uuid.0.into()
    }

    /// Unique identifier of the message. Never changes.
    async fn uuid(&self) -> UuidText {
        UuidText(self.0.uuid.0)
    }

    /// Unique identifier of the message group that contains the message.
    async fn message_group_uuid(&self) -> UuidText {
        UuidText(self.0.group.0)
    }

    /// User who wrote the message.
    async fn author(&self, context: &Context<'_>) -> Result<UserObject> {
        RequestContext::of(context).user(&self.0.author).await
    }

    /// Text of the message (maximum 1024 Unicode code points).
    async fn body(&self) -> &str {
        &self.0.body
    }

    /// Time at which the server received the message.
    async fn created_at(&self) -> Instant {
        Instant(self.0.created_at)
    }
}

impl AtHand for MessageObject {
    fn at_hand(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        message_at_hand(context, &self.0)
    }
}

pub(super) fn message_at_hand(context: &ContextSelectionSet<'_>, message: &Message) -> Option<Value> {
    object("Message", context, &|name, selected| match name {
        "id" | "uuid" => Some(UuidText(message.uuid.0).to_value()),
        "messageGroupUuid" => Some(UuidText(message.group.0).to_value()),
        "author" => participant_at_hand(&context.with_selection_set(selected), &message.author),
        "body" => Some(message.body.as_str().into()),
        "createdAt" => Some(Instant(message.created_at).to_value()),
        _ => None,
    })
}

/// A conversation between two users, as the signed-in user sees it.
pub struct MessageGroupObject(pub GroupView);

/// A conversation between two users, as the signed-in user sees it.
#[Object(name = "MessageGroup")]
impl MessageGroupObject {
    /// Unique identifier of the message group. Equal to `uuid`.
    async fn id(&self) -> ID {
        self.0.uuid.0.into()
    }

    /// Unique identifier of the message group. Never changes.
    async fn uuid(&self) -> UuidText {
        UuidText(self.0.uuid.0)
    }

    /// The two users of the conversation. The signed-in user is the first.
    async fn participants(&self, context: &Context<'_>) -> Result<Vec<UserObject>> {
        let request = RequestContext::of(context);
        let GroupView { viewer, other, .. } = &self.0;
        if viewer.uuid == other.uuid {
            return Ok(vec![request.user(viewer).await?]);
        }
        let (viewer, other) = futures::try_join!(request.user(viewer), request.user(other))?;
        Ok(vec![viewer, other])
    }

    /// The user with whom the signed-in user has the conversation.
    async fn other_participant(&self, context: &Context<'_>) -> Result<UserObject> {
        RequestContext::of(context).user(&self.0.other).await
    }

    /// The newest message.
    async fn last_message(&self) -> Quick<MessageObject> {
        Quick(MessageObject(self.0.last_message.clone()))
    }

    /// Time at which the server received the newest message.
    async fn last_message_at(&self) -> Instant {
        Instant(self.0.last_message.created_at)
    }

    /// Messages of the group, from oldest to newest. Without `first` and `last`, returns the last 40.
    async fn messages(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Returns the first *n* messages (maximum 100). Cannot be combined with `last`.")] first: Option<i32>,
        #[graphql(desc = "Returns messages after this cursor.")] after: Option<String>,
        #[graphql(desc = "Returns the last *n* messages (maximum 100). Cannot be combined with `first`.")] last: Option<i32>,
        #[graphql(desc = "Returns messages before this cursor.")] before: Option<String>,
    ) -> Result<MessageConnection> {
        let request = PageRequest { first, after, last, before };
        let read = messages(context, self.0.uuid, request, Window::default());
        // On the heap, as in `Query`.
        Box::pin(read.instrument(trace_span!("MessageGroup.messages"))).await
    }
}

impl AtHand for MessageGroupObject {
    fn at_hand(&self, context: &ContextSelectionSet<'_>) -> Option<Value> {
        group_at_hand(context, &self.0)
    }
}

pub(super) fn group_at_hand(context: &ContextSelectionSet<'_>, group: &GroupView) -> Option<Value> {
    let GroupView { uuid, viewer, other, last_message } = group;
    object("MessageGroup", context, &|name, selected| match name {
        "id" | "uuid" => Some(UuidText(uuid.0).to_value()),
        "participants" if viewer.uuid == other.uuid => {
            Some(Value::List(vec![participant_at_hand(&context.with_selection_set(selected), viewer)?]))
        }
        "participants" => {
            let both = [viewer, other]
                .into_iter()
                .map(|participant| participant_at_hand(&context.with_selection_set(selected), participant));
            both.collect::<Option<_>>().map(Value::List)
        }
        "otherParticipant" => participant_at_hand(&context.with_selection_set(selected), other),
        "lastMessage" => message_at_hand(&context.with_selection_set(selected), last_message),
        "lastMessageAt" => Some(Instant(last_message.created_at).to_value()),
        _ => None,
    })
}

/// A page of the messages of `group`, for whoever takes part in it.
pub(super) async fn messages(
    context: &Context<'_>,
    group: MessageGroupUuid,
    page: PageRequest,
    window: Window,
) -> Result<MessageConnection> {
    let request = RequestContext::of(context);
    let requester = request.requester().await?;
    let read = async {
        let member = request.messaging().member(&requester, group).await?;
        request.messaging().messages(&member, page, window).await
    };
    read.await.map(MessageConnection::from).map_err(|error: MessagingError| of_messaging(error))
}
