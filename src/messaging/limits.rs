//! Limits of pages and messages.

/// Maximum number of items in a page.
pub const MAX_PAGE: usize = 100;

/// Default number of message groups in a page.
pub const DEFAULT_GROUPS_PAGE: usize = 20;

/// Default number of messages in a page.
pub const DEFAULT_MESSAGES_PAGE: usize = 40;

/// Default number of events in a page of a feed.
pub const DEFAULT_FEED_PAGE: usize = 50;

/// Number of events in a page of a subscription. For a slow client, the server keeps at most one page in memory.
pub const SUBSCRIPTION_PAGE: usize = 20;

/// Maximum number of events that a reader of a feed may be behind. A client that is further behind must read its lists
/// again, because this costs less than reading the events.
pub const MAX_EVENTS_BEHIND: u64 = 10_000;

/// Maximum length of a message in Unicode code points.
pub const MAX_BODY_CHARS: usize = 1024;
