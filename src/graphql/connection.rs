//! Connections, as the Relay cursor connections specification has them.

use async_graphql::{ComplexObject, Object, SimpleObject};

use super::at_hand::Quick;
use super::list::List;
use super::types::{MessageGroupObject, MessageObject};
use crate::messages_table::Message;
use crate::messaging::{GroupCursor, GroupView, MessageCursor, Page};

/// Information about pagination in a connection.
#[derive(Clone, Debug, SimpleObject)]
pub struct PageInfo {
    /// Whether there are items before this page.
    has_previous_page: bool,
    /// Whether there are items after this page.
    has_next_page: bool,
    /// Cursor of the first item of the page. Null if the page is empty.
    start_cursor: Option<String>,
    /// Cursor of the last item of the page. Null if the page is empty.
    end_cursor: Option<String>,
}

impl PageInfo {
    fn of<T>(page: &Page<T>, cursor: impl Fn(&T) -> String) -> Self {
        Self {
            has_previous_page: page.has_previous,
            has_next_page: page.has_next,
            start_cursor: page.items.first().map(&cursor),
            end_cursor: page.items.last().map(&cursor),
        }
    }
}

/// A page of messages, from oldest to newest.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MessageConnection {
    #[graphql(skip)]
    items: Vec<(MessageCursor, MessageObject)>,
    /// Information about pagination.
    page_info: PageInfo,
}

/// A message and its cursor.
pub struct MessageEdge<'a>(&'a (MessageCursor, MessageObject));

/// A message and its cursor.
#[Object]
impl<'a> MessageEdge<'a> {
    /// The message.
    async fn node(&self) -> Quick<&'a MessageObject> {
        Quick(&self.0.1)
    }

    /// Cursor of the message, for the arguments `after` and `before`.
    async fn cursor(&self) -> String {
        self.0.0.encode()
    }
}

#[ComplexObject]
impl MessageConnection {
    /// The messages of the page, each with its cursor.
    async fn edges(&self) -> List<MessageEdge<'_>> {
        self.items.iter().map(MessageEdge).collect()
    }

    /// The messages of the page.
    async fn nodes(&self) -> List<Quick<&MessageObject>> {
        self.items.iter().map(|(_, node)| Quick(node)).collect()
    }
}

impl From<Page<(MessageCursor, Message)>> for MessageConnection {
    fn from(page: Page<(MessageCursor, Message)>) -> Self {
        let page_info = PageInfo::of(&page, |(cursor, _)| cursor.encode());
        Self { page_info, items: page.items.into_iter().map(|(cursor, it)| (cursor, MessageObject(it))).collect() }
    }
}

/// A page of message groups. The group with the newest message is the first.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MessageGroupConnection {
    #[graphql(skip)]
    items: Vec<(GroupCursor, MessageGroupObject)>,
    /// Information about pagination.
    page_info: PageInfo,
}

/// A message group and its cursor.
pub struct MessageGroupEdge<'a>(&'a (GroupCursor, MessageGroupObject));

/// A message group and its cursor.
#[Object]
impl<'a> MessageGroupEdge<'a> {
    /// The message group.
    async fn node(&self) -> Quick<&'a MessageGroupObject> {
        Quick(&self.0.1)
    }

    /// Cursor of the message group, for the argument `after`.
    async fn cursor(&self) -> String {
        self.0.0.encode()
    }
}

#[ComplexObject]
impl MessageGroupConnection {
    /// The message groups of the page, each with its cursor.
    async fn edges(&self) -> List<MessageGroupEdge<'_>> {
        self.items.iter().map(MessageGroupEdge).collect()
    }

    /// The message groups of the page.
    async fn nodes(&self) -> List<Quick<&MessageGroupObject>> {
        self.items.iter().map(|(_, node)| Quick(node)).collect()
    }
}

impl From<Page<(GroupCursor, GroupView)>> for MessageGroupConnection {
    fn from(page: Page<(GroupCursor, GroupView)>) -> Self {
        let page_info = PageInfo::of(&page, |(cursor, _)| cursor.encode());
        Self { page_info, items: page.items.into_iter().map(|(cursor, it)| (cursor, MessageGroupObject(it))).collect() }
    }
}
