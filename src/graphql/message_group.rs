//! The type `MessageGroup` and its connection.

use async_graphql::{Context, ID, Result};
use tracing::{Instrument, trace_span};

use super::connection::{Connection, Edge, PageInfo};
use super::context::RequestContext;
use super::engine::{Fast, List, object};
use super::message::{MessageConnection, MessageObject, messages};
use super::reading::{ReadCursor, ReadingOfGroup, UnreadCount};
use super::scalars::{Instant, UuidText};
use super::user::ParticipantObject;
use crate::messaging::{GroupCursor, GroupView, Page, PageRequest, ReadAccess, Window};
use crate::model::{MessageGroupUuid, Participant};

/// A message group.
pub struct MessageGroupObject {
    uuid: MessageGroupUuid,
    viewer: Participant,
    other: Participant,
    last_message: MessageObject,
    reading: ReadingOfGroup,
    access: ReadAccess,
}

impl From<GroupView> for MessageGroupObject {
    fn from(group: GroupView) -> Self {
        let GroupView { uuid, viewer, other, last_message, reading, access } = group;
        let reading = ReadingOfGroup::new(uuid, last_message.sort_key.clone(), reading);
        Self { uuid, viewer, other, last_message: MessageObject(last_message), reading, access }
    }
}

impl MessageGroupObject {
    fn both_participants(&self) -> List<ParticipantObject<'_>> {
        // In the legacy system, users could write to themselves. Such a group has one participant.
        let other = Some(&self.other).filter(|other| other.uuid != self.viewer.uuid);
        [&self.viewer].into_iter().chain(other).map(ParticipantObject).collect()
    }
}

object! {
    /// A conversation between two users, as the signed-in user sees it.
    "MessageGroup" for MessageGroupObject;
    fields(&self) {
        /// Unique identifier of the message group. Equal to `uuid`.
        "id" id: ID = self.uuid.0.into();
        /// Unique identifier of the message group. Never changes.
        "uuid" uuid: UuidText = UuidText(self.uuid.0);
        /// The two users of the conversation. The signed-in user is the first. If a user has written to themselves in
        /// an earlier system, the list has one element.
        "participants" participants: List<ParticipantObject<'_>> = self.both_participants();
        /// The other user of the conversation. In a group with one participant, the signed-in user.
        "otherParticipant" other_participant: ParticipantObject<'_> = ParticipantObject(&self.other);
        /// The newest message.
        "lastMessage" last_message: &MessageObject = &self.last_message;
        /// Time at which the server received the newest message.
        "lastMessageAt" last_message_at: Instant = Instant(self.last_message.0.created_at);
        /// Number of messages from the other participant that the signed-in user has not read. If `markRead` marks an
        /// older message, the server counts only the first 1,000 messages after it, so the number can be too small. It
        /// still counts messages that arrive later.
        "unreadCount" unread_count: UnreadCount<'_> = UnreadCount(&self.reading);
        /// Cursor up to which the signed-in user has read the group. It is that of a message, except in some groups of
        /// an earlier system. Null if no message is marked as read.
        "readCursor" read_cursor: ReadCursor<'_> = ReadCursor(&self.reading);
    }
    resolvers {
        /// Cursor up to which the other participant has read the group. It is that of a message, except in some groups of
        /// an earlier system. Null if no message is marked as read.
        async fn other_read_cursor(&self, context: &Context<'_>) -> Result<Option<String>> {
            let read = self.reading.other_cursor(RequestContext::of(context));
            Box::pin(read.instrument(trace_span!("MessageGroup.otherReadCursor"))).await
        }

        /// Messages of the group, from oldest to newest. `after` and `before` select a range of messages. If neither
        /// `first` nor `last` is set, returns the last 40 messages of this range.
        async fn messages(
            &self,
            context: &Context<'_>,
            #[graphql(desc = "Returns the first *n* messages (maximum 100). Cannot be combined with `last`.")]
            first: Option<i32>,
            #[graphql(desc = "Returns messages after this cursor.")]
            after: Option<String>,
            #[graphql(desc = "Returns the last *n* messages (maximum 100). Cannot be combined with `first`.")]
            last: Option<i32>,
            #[graphql(desc = "Returns messages before this cursor.")]
            before: Option<String>,
        ) -> Result<Fast<MessageConnection>> {
            let page = PageRequest { first, after, last, before };
            let read = messages(context, self.access, page, Window::default());
            // Boxed for the same reason as in `Query`.
            Box::pin(read.instrument(trace_span!("MessageGroup.messages"))).await
        }
    }
}

/// A page of message groups.
pub type MessageGroupConnection = Connection<MessageGroupObject>;
type MessageGroupEdge = Edge<MessageGroupObject>;

object! {
    /// A page of message groups. The page starts with the group that has the newest message.
    "MessageGroupConnection" for MessageGroupConnection;
    fields(&self) {
        /// Information about pagination.
        "pageInfo" page_info: &PageInfo = &self.page_info;
        /// The message groups of the page, each with its cursor.
        "edges" edges: List<&MessageGroupEdge> = self.edges.iter().collect();
        /// The message groups of the page.
        "nodes" nodes: List<&MessageGroupObject> = self.edges.iter().map(|edge| &edge.node).collect();
    }
}

object! {
    /// A message group and its cursor.
    "MessageGroupEdge" for MessageGroupEdge;
    fields(&self) {
        /// The message group.
        "node" node: &MessageGroupObject = &self.node;
        /// Cursor of the message group, for the argument `after` of `messageGroups`.
        "cursor" cursor: &str = &self.cursor;
    }
}

impl From<Page<(GroupCursor, GroupView)>> for MessageGroupConnection {
    fn from(page: Page<(GroupCursor, GroupView)>) -> Self {
        Self::of(page, |(cursor, group)| (cursor.encode(), group.into()))
    }
}
