//! The type `Message` and its connection.

use async_graphql::{Context, ID, Result};

use super::connection::{Connection, Edge, PageInfo};
use super::context::RequestContext;
use super::engine::{Fast, List, object};
use super::errors::messaging_error;
use super::scalars::{Instant, UuidText};
use super::user::ParticipantObject;
use crate::messages_table::{Message, SortKey};
use crate::messaging::{MessageCursor, Page, PageRequest, ReadAccess, Window};
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
        /// Cursor of the message in its message group, for the arguments `after` and `before` of `messages`, and for
        /// `upTo` of `markRead`.
        "cursor" cursor: String = message_cursor(self.0.group, &self.0.sort_key);
    }
}

/// Encodes the cursor of a message.
pub fn message_cursor(group: MessageGroupUuid, sort_key: &SortKey) -> String {
    MessageCursor { group, sort_key: sort_key.clone() }.encode()
}

/// A page of messages.
pub type MessageConnection = Connection<MessageObject>;
type MessageEdge = Edge<MessageObject>;

object! {
    /// A page of messages, from oldest to newest.
    "MessageConnection" for MessageConnection;
    fields(&self) {
        /// Information about pagination.
        "pageInfo" page_info: &PageInfo = &self.page_info;
        /// The messages of the page, each with its cursor.
        "edges" edges: List<&MessageEdge> = self.edges.iter().collect();
        /// The messages of the page.
        "nodes" nodes: List<&MessageObject> = self.edges.iter().map(|edge| &edge.node).collect();
    }
}

object! {
    /// A message and its cursor.
    "MessageEdge" for MessageEdge;
    fields(&self) {
        /// The message.
        "node" node: &MessageObject = &self.node;
        /// Cursor of the message, for the arguments `after` and `before` of `messages`.
        "cursor" cursor: &str = &self.cursor;
    }
}

impl From<Page<(MessageCursor, Message)>> for MessageConnection {
    fn from(page: Page<(MessageCursor, Message)>) -> Self {
        Self::of(page, |(cursor, message)| (cursor.encode(), MessageObject(message)))
    }
}

/// Reads a page of the messages of a group.
pub async fn messages(
    context: &Context<'_>,
    access: ReadAccess,
    page: PageRequest,
    window: Window,
) -> Result<Fast<MessageConnection>> {
    let page = RequestContext::of(context).reads().messages(access, page, window).await.map_err(messaging_error)?;
    Ok(Fast(page.into()))
}
