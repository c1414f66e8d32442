//! Connections, as the Relay cursor connections specification has them.

use async_graphql::{ComplexObject, Object, SimpleObject};

use super::at_hand::Quick;
use super::list::List;
use super::types::{MessageGroupObject, MessageObject};
use crate::messages_table::Message;
use crate::messaging::{GroupCursor, GroupView, MessageCursor, Page};

/// What lies around a page.
#[derive(Clone, Debug, SimpleObject)]
pub struct PageInfo {
    /// Whether something lies before the page.
    has_previous_page: bool,
    /// Whether something lies behind the page.
    has_next_page: bool,
    /// The cursor of the page's first edge.
    start_cursor: Option<String>,
    /// The cursor of the page's last edge.
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

/// A page of messages, oldest to newest.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MessageConnection {
    #[graphql(skip)]
    items: Vec<(MessageCursor, MessageObject)>,
    /// What lies around this page.
    page_info: PageInfo,
}

/// A message and its place in the conversation.
pub struct MessageEdge<'a>(&'a (MessageCursor, MessageObject));

/// A message and its place in the conversation.
#[Object]
impl<'a> MessageEdge<'a> {
    /// The message.
    async fn node(&self) -> Quick<&'a MessageObject> {
        Quick(&self.0.1)
    }

    /// Its place, for `after` and `before`.
    async fn cursor(&self) -> String {
        self.0.0.encode()
    }
}

#[ComplexObject]
impl MessageConnection {
    /// The messages with their cursors.
    async fn edges(&self) -> List<MessageEdge<'_>> {
        self.items.iter().map(MessageEdge).collect()
    }

    /// The messages.
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

/// A page of message groups, last reply first.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MessageGroupConnection {
    #[graphql(skip)]
    items: Vec<(GroupCursor, MessageGroupObject)>,
    /// What lies around this page.
    page_info: PageInfo,
}

/// A message group and its place in the list.
pub struct MessageGroupEdge<'a>(&'a (GroupCursor, MessageGroupObject));

/// A message group and its place in the list.
#[Object]
impl<'a> MessageGroupEdge<'a> {
    /// The message group.
    async fn node(&self) -> Quick<&'a MessageGroupObject> {
        Quick(&self.0.1)
    }

    /// Its place, for `after`.
    async fn cursor(&self) -> String {
        self.0.0.encode()
    }
}

#[ComplexObject]
impl MessageGroupConnection {
    /// The message groups with their cursors.
    async fn edges(&self) -> List<MessageGroupEdge<'_>> {
        self.items.iter().map(MessageGroupEdge).collect()
    }

    /// The message groups.
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
