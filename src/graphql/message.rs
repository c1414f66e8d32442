//! The type `Message` and its connection.

use async_graphql::{Context, ID, Result};

use super::connection::{Connection, Edge, PageInfo};
use super::context::RequestContext;
use super::engine::{Fast, List, object};
use super::errors::messaging_error;
use super::scalars::{Instant, UuidText};
use super::user::ParticipantObject;
use crate::messages_table::Message;
use crate::messaging::{MessageCursor, Page, PageRequest, Window};
use crate::model::MessageGroupUuid;

/// A message.
pub struct MessageObject(pub Message);

object! {
    /// A message in a message group.
    "Message" for MessageObject;
    fields(&self) {
        /// Unique identifier of the message. Equal to `uuid`.
        "id" id: ID = self.0.uuid.0.into();
        /// Unique identifier of the message. Never changes.
        "uuid" uuid: UuidText = UuidText(self.0.uuid.0);
        /// Unique identifier of the message group that contains the message.
        "messageGroupUuid" message_group_uuid: UuidText = UuidText(self.0.group.0);
        /// User who wrote the message.
        "author" author: ParticipantObject<'_> = ParticipantObject(&self.0.author);
        /// Text of the message (maximum 1024 Unicode code points).
        "body" body: &str = &self.0.body;
        /// Time at which the server received the message.
        "createdAt" created_at: Instant = Instant(self.0.created_at);
    }
}

/// A page of messages.
pub type MessageConnection = Connection<MessageObject>;
type MessageEdge = Edge<MessageObject>;

object! {
    /// A page of messages, from oldest to newest.
    "MessageConnection" for MessageConnection;
    fields(&self) {
        /// Information about pagination.
        "pageInfo" page_info: Fast<&PageInfo> = Fast(&self.page_info);
        /// The messages of the page, each with its cursor.
        "edges" edges: List<Fast<&MessageEdge>> = self.edges.iter().map(Fast).collect();
        /// The messages of the page.
        "nodes" nodes: List<Fast<&MessageObject>> = self.edges.iter().map(|edge| Fast(&edge.node)).collect();
    }
}

object! {
    /// A message and its cursor.
    "MessageEdge" for MessageEdge;
    fields(&self) {
        /// The message.
        "node" node: Fast<&MessageObject> = Fast(&self.node);
        /// Cursor of the message, for the arguments `after` and `before`.
        "cursor" cursor: &str = &self.cursor;
    }
}

impl From<Page<(MessageCursor, Message)>> for MessageConnection {
    fn from(page: Page<(MessageCursor, Message)>) -> Self {
        Self::of(page, |(cursor, message)| (cursor.encode(), MessageObject(message)))
    }
}

/// Reads a page of the messages of `group`. The signed-in user must be a participant.
pub async fn messages(
    context: &Context<'_>,
    group: MessageGroupUuid,
    page: PageRequest,
    window: Window,
) -> Result<Fast<MessageConnection>> {
    let request = RequestContext::of(context);
    let requester = request.requester().await?;
    let read = async {
        let member = request.messaging().member(&requester, group).await?;
        request.messaging().messages(&member, page, window).await
    };
    read.await.map(|page| Fast(page.into())).map_err(messaging_error)
}
