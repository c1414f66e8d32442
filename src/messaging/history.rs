//! Reads the messages of a group: access pattern A.

use chrono::{DateTime, TimeDelta, Utc};

use super::cursor::MessageCursor;
use super::error::{BadInput, MessagingError};
use super::limits::DEFAULT_MESSAGES_PAGE;
use super::membership::ReadAccess;
use super::page::{Page, PageRequest, PageSize};
use super::service::Messaging;
use crate::instant::ceil_to_micros;
use crate::messages_table::keys::key_bound;
use crate::messages_table::{Direction, Message, SortKeyRange};

/// Maximum difference between the time in the text of a legacy key and its instant. UTC offsets are shorter than a day. The
/// additional hour covers keys without fractional digits, which sort differently within their second.
const MAX_LEGACY_OFFSET: TimeDelta = TimeDelta::hours(25);

/// A time window. It includes `from` and excludes `to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// Start of the window. `None` if the window has no start.
    pub from: Option<DateTime<Utc>>,
    /// End of the window. `None` if the window has no end.
    pub to: Option<DateTime<Utc>>,
}

impl Window {
    /// Rejects a window that ends before it starts.
    pub(crate) fn check(&self) -> Result<(), BadInput> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => Err(BadInput::WindowInvalid),
            _ => Ok(()),
        }
    }

    /// Returns the range of sort keys to read. The text of a legacy key can differ from its instant by the UTC offset. If the
    /// group may be a legacy group, the range is therefore wider than the window, and the caller must filter with
    /// [`Window::contains`].
    pub(crate) fn range(&self, is_legacy: bool) -> SortKeyRange {
        let slack = if is_legacy { MAX_LEGACY_OFFSET } else { TimeDelta::zero() };
        let mut range = SortKeyRange::all();
        if let Some(from) = self.from {
            let bound = key_bound(from.checked_sub_signed(slack).unwrap_or(DateTime::<Utc>::MIN_UTC));
            // Some legacy keys have a space instead of the `T`, which sorts before it. Reading from the start of the day
            // includes them.
            let day = bound.split('T').next().filter(|_| is_legacy);
            range = range.from(day.unwrap_or(&bound));
        }
        if let Some(to) = self.to {
            range = range.below(&key_bound(to.checked_add_signed(slack).unwrap_or(DateTime::<Utc>::MAX_UTC)));
        }
        range
    }

    /// Whether the window contains an instant.
    pub(crate) fn contains(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| at >= ceil_to_micros(from)) && self.to.is_none_or(|to| at < ceil_to_micros(to))
    }
}

impl Messaging {
    /// Returns a page of a group's messages in the window, from oldest to newest, each with its cursor.
    pub async fn messages(
        &self,
        access: ReadAccess,
        request: PageRequest,
        window: Window,
    ) -> Result<Page<(MessageCursor, Message)>, MessagingError> {
        let group = access.group;
        let size = request.size(PageSize::Last(DEFAULT_MESSAGES_PAGE))?;
        window.check()?;
        let cursor = |name, text: &Option<String>| {
            text.as_deref().map(|text| MessageCursor::decode(name, text, group)).transpose()
        };
        let (after, before) = (cursor("after", &request.after)?, cursor("before", &request.before)?);
        let mut range = window.range(access.may_be_legacy);
        if let Some(after) = &after {
            range = range.above(after.sort_key.as_str());
        }
        if let Some(before) = &before {
            range = range.below(before.sort_key.as_str());
        }
        let direction = match size {
            PageSize::First(_) => Direction::Ascending,
            PageSize::Last(_) => Direction::Descending,
        };
        let keep = |message: &Message| window.contains(message.created_at);
        let slice = self.table.messages(group, &range, direction, size.limit(), keep).await?;
        // The message of a cursor is outside the page. The page has a previous or next message if the window contains
        // it.
        let in_window = |cursor: Option<MessageCursor>| {
            cursor.and_then(|cursor| cursor.sort_key.created_at()).is_some_and(|at| window.contains(at))
        };
        let page = Page::of(slice, size, in_window(after), in_window(before));
        Ok(page.map(|message| (MessageCursor { group, sort_key: message.sort_key.clone() }, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_includes_its_start_and_excludes_its_end() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let window = Window { from: Some(at("2025-01-01T00:00:00Z")), to: Some(at("2026-01-01T00:00:00Z")) };
        let range = window.range(false);
        for (key, inside) in [
            ("2024-12-31T23:59:59.999999Z#f", false),
            ("2025-01-01T00:00:00.000000Z#0", true),
            ("2025-12-31T23:59:59.999999Z#f", true),
            ("2026-01-01T00:00:00.000000Z#0", false),
        ] {
            assert_eq!(range.contains(key), inside, "{key}");
            let instant = at(key.split('#').next().expect("a time"));
            assert_eq!(window.contains(instant), inside, "{key}");
            assert!(!inside || window.range(true).contains(key), "{key}");
        }
        // Legacy keys whose text is on one side of a bound and whose instant is on the other.
        for key in ["2024-12-31T20:00:00-04:30", "2025-01-01T00:00:00", "2026-01-01T13:00:00+13:30"] {
            assert!(window.range(true).contains(key), "{key}");
        }
        let morning = Window { from: Some(at("2022-05-04T01:30:00Z")), to: None };
        assert!(morning.range(true).contains("2022-05-03 21:00:00-05:00"));
        assert!(!morning.range(true).contains("2022-05-02 21:00:00-05:00"));
        assert_eq!(Window { from: window.to, to: window.from }.check(), Err(BadInput::WindowInvalid));
        assert_eq!(Window { from: window.to, to: window.to }.check(), Ok(()));
    }
}
