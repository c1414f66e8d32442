//! Limits and defaults of the rules.

/// Maximum length of a message, in Unicode code points.
pub const MAX_BODY_CHARS: usize = 1024;
/// Maximum size of a page.
pub const MAX_PAGE: usize = 100;
/// Number of message groups in a page if the request does not say it.
pub const DEFAULT_GROUPS_PAGE: usize = 20;
/// Number of messages in a page if the request does not say it: the newest ones.
pub const DEFAULT_MESSAGES_PAGE: usize = 40;
