//! Cursors of feeds: positions in the feed of one user, opaque to clients.
//!
//! A cursor contains the position and the id of the entry before it. With the id, the server detects that the feed no longer
//! continues from the cursor: the entry can have expired, or another entry can have its position now.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::cursor::decode;
use super::error::BadInput;
use crate::messages_table::feed::FeedHead;
use crate::model::UserUuid;

/// The first word of a cursor: the kind of list and the version of the format.
const FEED: &str = "f1";
/// The encoding of [`Through::End`].
const END: &str = "end";

/// A position in a user's feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedCursor {
    /// User who owns the feed.
    pub(super) owner: UserUuid,
    /// The entry of the event before the cursor. `None` if the feed was empty when the server issued the cursor.
    pub(super) entry: Option<EntryName>,
    /// Time in milliseconds since 1970. No entry after the cursor is older. In the cursor of an event, it is the time
    /// of the event's entry. In a cursor at the end of the feed, it is the time at which the server issued the cursor.
    pub(super) since: i64,
    /// Hints for the next page, if the reader has not reached the end of the feed. Zero in all other cursors.
    pub(super) pace: Pace,
}

/// Hints that a page gives to the next one. They affect how much the server reads, but never the events that it
/// returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pace {
    /// A page checks whether the reader is too far behind if at least this number of events of the feed are before the page.
    pub check_from: u64,
    /// Average number of events of an entry of the page, rounded down.
    pub events_per_entry: usize,
}

/// Identifies an entry of a feed and the events of it that are before a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryName {
    /// Position of the entry, at least 1.
    pub position: u64,
    /// Id of the entry. Contains no space.
    pub id: String,
    /// Which events of the entry are before the cursor.
    pub through: Through,
}

/// Which events of an entry are before a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Through {
    /// The first *n* events. *n* is at least 1.
    Events(usize),
    /// All events.
    End,
}

impl FeedCursor {
    /// Creates the cursor at the end of a feed whose last entry is `head`. `now` is a time before the head was read, in
    /// milliseconds since 1970.
    pub(super) fn at_end(owner: UserUuid, head: Option<FeedHead>, now: i64) -> Self {
        let entry = head.map(|FeedHead { position, id, .. }| EntryName { position, id, through: Through::End });
        Self { owner, entry, since: now, pace: Pace::default() }
    }

    /// The cursor without its time, so cursors at the same place of a feed are equal. Only for comparisons: the time says when a
    /// cursor expires.
    pub fn place(&self) -> Self {
        Self { since: 0, ..self.clone() }
    }

    /// Position of the entry before the cursor, or 0 at the start of a feed.
    pub fn position(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.position)
    }

    /// Encodes the cursor for clients.
    pub fn encode(&self) -> String {
        let Self { owner, entry, since, pace: Pace { check_from, events_per_entry } } = self;
        let mut text = format!("{FEED} {owner} {since} {check_from} {events_per_entry}");
        if let Some(EntryName { position, id, through }) = entry {
            let through = match through {
                Through::Events(events) => events.to_string(),
                Through::End => END.to_owned(),
            };
            text.push_str(&format!(" {position} {through} {id}"));
        }
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Decodes `text`, the value of the argument `name`. It must be a cursor of the feed of `owner`.
    pub fn decode(name: &'static str, text: &str, owner: UserUuid) -> Result<Self, BadInput> {
        let read = || {
            let decoded = decode(text)?;
            let mut parts = decoded.split(' ');
            (parts.next()? == FEED).then_some(())?;
            let owner = UserUuid(Uuid::try_parse(parts.next()?).ok()?);
            let since = parts.next()?.parse().ok()?;
            let (check_from, events_per_entry) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let entry = match parts.next() {
                None => None,
                Some(position) => {
                    let through = match parts.next()? {
                        END => Through::End,
                        events => Through::Events(events.parse().ok().filter(|events| *events > 0)?),
                    };
                    let position = position.parse().ok().filter(|position| *position > 0)?;
                    Some(EntryName { position, id: parts.next()?.to_owned(), through })
                }
            };
            Some(Self { owner, entry, since, pace: Pace { check_from, events_per_entry } })
        };
        // Rejects other encodings of the same position, because clients must not build cursors.
        read().filter(|cursor| cursor.owner == owner && cursor.encode() == text).ok_or(BadInput::CursorInvalid(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn a_cursor_is_valid_only_in_the_feed_of_its_user() {
        let owner = UserUuid(Uuid::from_u128(1));
        let entry = |through| Some(EntryName { position: 7, id: "a1b2".into(), through });
        for entry in [None, entry(Through::Events(1)), entry(Through::Events(50)), entry(Through::End)] {
            let pace = Pace { check_from: 1_000, events_per_entry: 3 };
            let cursor = FeedCursor { owner, entry, since: 1_790_000_000_000, pace };
            assert_eq!(FeedCursor::decode("after", &cursor.encode(), owner), Ok(cursor.clone()));
            let other = UserUuid(Uuid::from_u128(2));
            assert_eq!(FeedCursor::decode("after", &cursor.encode(), other), Err(BadInput::CursorInvalid("after")));
        }
        for text in [
            format!("m1 {owner} 1 0 0"),
            format!("f1 {owner} 1 0"),
            format!("f1 {owner} x 0 0"),
            format!("f1 {owner} 01 0 0"),
            format!("f1 {owner} 1 -1 0"),
            format!("f1 {owner} 1 0 -1"),
            format!("f1 {owner} 1 0 0 7"),
            format!("f1 {owner} 1 0 0 0 1 a"),
            format!("f1 {owner} 1 0 0 7 0 a"),
            format!("f1 {owner} 1 0 0 7 1"),
            format!("f1 {owner} 1 0 0 7 1 a b"),
            format!("f1 {owner} 1 0 0 99999999999999999999 1 a"),
            "f1 1 1 0 0".to_owned(),
        ] {
            assert!(FeedCursor::decode("after", &encoded(&text), owner).is_err(), "{text}");
        }
        for text in ["", "x", "é", &"Z".repeat(5000)] {
            assert!(FeedCursor::decode("after", text, owner).is_err(), "{text}");
        }
    }
}
