//! The feed: the interface `FeedEvent`, its types, and `FeedPage`.

use async_graphql::{ContextSelectionSet, Enum, Interface, Value};

use super::budget::Meter;
use super::engine::{FastPath, List, NotResolved, object};
use super::message::MessageObject;
use super::message_group::MessageGroupObject;
use crate::live::feed_reader::FeedItem;
use crate::messaging::{FeedEvent, FeedPage, FeedResetReason};

/// An event in the feed of the signed-in user.
#[derive(Interface)]
#[graphql(
    name = "FeedEvent",
    field(
        name = "cursor",
        ty = "String",
        desc = "Cursor of the event, for the argument `after` of `feed`. Every server accepts it, also after a restart. If\n\
            it has expired, the next event is a `FeedReset`."
    )
)]
#[expect(clippy::large_enum_variant, reason = "almost all events have the largest variant")]
pub enum FeedEventObject {
    /// A message was added.
    MessageAdded(MessageAdded),
    /// The reader has received all events up to now.
    FeedReady(FeedReady),
    /// Events are missing.
    FeedReset(FeedReset),
}

impl FastPath for FeedEventObject {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        match self {
            Self::MessageAdded(event) => event.resolve_now(context, meter),
            Self::FeedReady(event) => event.resolve_now(context, meter),
            Self::FeedReset(event) => event.resolve_now(context, meter),
        }
    }
}

/// A message was added to a group.
pub struct MessageAdded {
    cursor: String,
    message: MessageObject,
    message_group: MessageGroupObject,
}

object! {
    /// One of the participants added a message to a message group of the signed-in user.
    "MessageAdded" for MessageAdded;
    fields(&self) {
        /// Cursor of the event, for the argument `after` of `feed`. Every server accepts it, also after a restart. If
        /// it has expired, the next event is a `FeedReset`.
        "cursor" cursor: &str = &self.cursor;
        /// The message.
        "message" message: &MessageObject = &self.message;
        /// The message group as it was when the server added the event to the feed. Its `lastMessage` can be newer than
        /// `message`.
        "messageGroup" message_group: &MessageGroupObject = &self.message_group;
    }
}

/// The client has received all events that it missed.
pub struct FeedReady {
    cursor: String,
}

object! {
    /// All events after this one are new. If `after` is set, the client has received the events that it missed. Only
    /// subscriptions send this event.
    "FeedReady" for FeedReady;
    fields(&self) {
        /// Cursor of the event, for the argument `after` of `feed`. Every server accepts it, also after a restart. If
        /// it has expired, the next event is a `FeedReset`.
        "cursor" cursor: &str = &self.cursor;
    }
}

/// Events of a feed are missing.
pub struct FeedReset {
    cursor: String,
    reason: FeedResetReason,
}

object! {
    /// Events are missing. The client should query its message groups and messages again. A subscription continues with
    /// later events. To continue with queries, pass `cursor` as `after`.
    "FeedReset" for FeedReset;
    fields(&self) {
        /// Cursor of the event, for the argument `after` of `feed`. Every server accepts it, also after a restart. If
        /// it has expired, the next event is a `FeedReset`.
        "cursor" cursor: &str = &self.cursor;
        /// Reason why events are missing.
        "reason" reason: FeedResetReasonValue = self.reason.into();
    }
}

/// Reason why events are missing.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(name = "FeedResetReason")]
pub enum FeedResetReasonValue {
    /// Events after the cursor may have expired. The feed keeps events for a limited time.
    Expired,
    /// More than 10,000 events follow the cursor.
    TooFarBehind,
    /// The server lost events, or its data was restored from a backup.
    HistoryChanged,
}

impl From<FeedResetReason> for FeedResetReasonValue {
    fn from(reason: FeedResetReason) -> Self {
        match reason {
            FeedResetReason::Expired => Self::Expired,
            FeedResetReason::TooFarBehind => Self::TooFarBehind,
            FeedResetReason::HistoryChanged => Self::HistoryChanged,
        }
    }
}

impl FastPath for FeedResetReasonValue {
    fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        meter.value()?;
        Ok(async_graphql::resolver_utils::enum_value(*self))
    }
}

/// A page of a feed.
pub struct FeedPageObject {
    events: Vec<FeedEventObject>,
    end_cursor: String,
    has_next_page: bool,
}

object! {
    /// A page of the signed-in user's feed.
    "FeedPage" for FeedPageObject;
    fields(&self) {
        /// The events of the page, in the order of the feed.
        "events" events: List<&FeedEventObject> = self.events.iter().collect();
        /// Cursor to pass as `after` to get the next page. Present even if the page is empty.
        "endCursor" end_cursor: &str = &self.end_cursor;
        /// Whether more events follow this page.
        "hasNextPage" has_next_page: bool = self.has_next_page;
    }
}

impl From<FeedPage> for FeedPageObject {
    fn from(page: FeedPage) -> Self {
        let event = |(cursor, event)| FeedItem::Event(cursor, event).into();
        Self {
            events: page.events.into_iter().map(event).collect(),
            end_cursor: page.end.encode(),
            has_next_page: page.has_next,
        }
    }
}

impl From<FeedItem> for FeedEventObject {
    fn from(item: FeedItem) -> Self {
        match item {
            FeedItem::Ready(cursor) => Self::FeedReady(FeedReady { cursor: cursor.encode() }),
            FeedItem::Event(cursor, FeedEvent::Reset(reason)) => {
                Self::FeedReset(FeedReset { cursor: cursor.encode(), reason })
            }
            FeedItem::Event(cursor, FeedEvent::MessageAdded { message, group }) => {
                let (message, message_group) = (MessageObject(message), group.into());
                Self::MessageAdded(MessageAdded { cursor: cursor.encode(), message, message_group })
            }
        }
    }
}
