//! The rules of direct messages: who may read and write a group, what a page is, and how a message is sent.
//!
//! This module uses the two stores and does not know GraphQL, HTTP or the stream. [`Messaging`] is the entry point; each
//! file adds one part of the rules to it. A request reads through [`RequestReads`].

mod cursor;
mod error;
mod feed;
mod feed_cursor;
mod groups;
mod history;
mod idempotency;
mod legacy;
mod limits;
mod membership;
mod own_row;
mod page;
mod read_markers;
mod reads;
mod retry;
mod send;
mod service;
mod throttle;

pub use self::cursor::{GroupCursor, MessageCursor};
pub use self::error::MessagingError;
pub use self::feed::{FeedEvent, FeedPage, FeedResetReason};
pub use self::feed_cursor::FeedCursor;
pub use self::groups::GroupView;
pub use self::history::Window;
pub use self::limits::{DEFAULT_FEED_PAGE, DEFAULT_GROUPS_PAGE, DEFAULT_MESSAGES_PAGE, MAX_PAGE};
pub use self::membership::{Member, ReadAccess};
pub use self::page::{Page, PageRequest};
pub use self::reads::RequestReads;
pub use self::send::{NewMessage, Recipient};
pub use self::service::Messaging;
