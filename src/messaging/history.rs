//! Reading a group's messages: pattern A.

use chrono::{DateTime, TimeDelta, Utc};

use super::cursor::MessageCursor;
use super::limits::DEFAULT_MESSAGES_PAGE;
use super::page::Size;
use super::{BadInput, Member, Messaging, MessagingError, Page, PageRequest};
use crate::instant::ceil_to_micros;
use crate::messages_table::keys::key_bound;
use crate::messages_table::{Direction, Message, SortKeyRange};

/// Offsets that ISO 8601 can write stay below a day; an hour more for what a key without a fraction lacks.
const WIDEST_OFFSET: TimeDelta = TimeDelta::hours(25);

/// A window of time, `from` inside and `to` outside of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first instant inside.
    pub from: Option<DateTime<Utc>>,
    /// The first instant behind.
    pub to: Option<DateTime<Utc>>,
}

impl Window {
    /// Whether it ends before it begins.
    pub(crate) fn check(&self) -> Result<(), BadInput> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => Err(BadInput::WindowInvalid),
            _ => Ok(()),
        }
    }

    /// The keys to read. In legacy keys the text strays from the instant by up to the widest offset, so
    /// where there can be any the range is wider than the window, and [`Window::contains`] decides.
    pub(crate) fn range(&self, is_legacy: bool) -> SortKeyRange {
        let slack = if is_legacy { WIDEST_OFFSET } else { TimeDelta::zero() };
        let mut range = SortKeyRange::all();
        if let Some(from) = self.from {
            let bound = key_bound(from.checked_sub_signed(slack).unwrap_or(DateTime::<Utc>::MIN_UTC));
            // Some of those keys have a space for the `T`, which sorts before it: the whole day is read.
            let day = bound.split('T').next().filter(|_| is_legacy);
            range = range.from(day.unwrap_or(&bound));
        }
        if let Some(to) = self.to {
            range = range.below(&key_bound(to.checked_add_signed(slack).unwrap_or(DateTime::<Utc>::MAX_UTC)));
        }
        range
    }

    /// Whether an instant is inside.
    pub(crate) fn contains(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| at >= ceil_to_micros(from)) && self.to.is_none_or(|to| at < ceil_to_micros(to))
    }
}

impl Messaging {
    /// A page of a group's messages, oldest to newest, each with its cursor.
    pub async fn messages(
        &self,
        member: &Member,
        request: PageRequest,
        window: Window,
    ) -> Result<Page<(MessageCursor, Message)>, MessagingError> {
        let group = member.group();
        let size = request.size(Size::Last(DEFAULT_MESSAGES_PAGE))?;
        window.check()?;
        let cursor = |name, text: &Option<String>| {
            text.as_deref().map(|text| MessageCursor::decode(name, text, group)).transpose()
        };
        let (after, before) = (cursor("after", &request.after)?, cursor("before", &request.before)?);
        let mut range = window.range(member.membership.is_legacy);
        if let Some(after) = &after {
            range = range.above(after.sort_key.as_str());
        }
        if let Some(before) = &before {
            range = range.below(before.sort_key.as_str());
        }
        let direction = match size {
            Size::First(_) => Direction::Ascending,
            Size::Last(_) => Direction::Descending,
        };
        let keep = |message: &Message| window.contains(message.created_at);
        let slice = self.table.messages(group, &range, direction, size.limit(), keep).await?;
        // On a cursor's far side there is its own message, if that is in the window.
        let inside = |cursor: Option<MessageCursor>| {
            cursor.and_then(|cursor| cursor.sort_key.created_at()).is_some_and(|at| window.contains(at))
        };
        let page = Page::of(slice, size, inside(after), inside(before));
        Ok(page.map(|message| (MessageCursor { group, sort_key: message.sort_key.clone() }, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_includes_its_first_instant_and_not_its_last() {
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
        // Keys of the legacy system whose text lies on the other side of a bound than their instant.
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
