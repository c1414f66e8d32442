//! The rules of direct messages: who may read and write a group, what a page is, and how a message is sent.
//!
//! This module uses the two stores and does not know GraphQL, HTTP or the stream. [`Messaging`] is the entry point; each
//! file adds one part of the rules to it.

mod cursor;
mod error;
mod groups;
mod history;
mod legacy;
mod limits;
mod membership;
mod page;
mod retry;
mod send;
mod service;
mod throttle;

pub use self::cursor::{GroupCursor, MessageCursor};
pub use self::error::MessagingError;
pub use self::groups::GroupView;
pub use self::history::Window;
pub use self::limits::{DEFAULT_GROUPS_PAGE, DEFAULT_MESSAGES_PAGE, MAX_PAGE};
pub use self::page::{Page, PageRequest};
pub use self::send::Recipient;
pub use self::service::Messaging;
