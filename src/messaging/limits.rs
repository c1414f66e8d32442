//! Limits of pages and messages.

/// Maximum number of items in a page.
pub const MAX_PAGE: usize = 100;

/// Default number of message groups in a page.
pub const DEFAULT_GROUPS_PAGE: usize = 20;

/// Default number of messages in a page.
pub const DEFAULT_MESSAGES_PAGE: usize = 40;

/// Maximum length of a message in Unicode code points.
pub const MAX_BODY_CHARS: usize = 1024;
