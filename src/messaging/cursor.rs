//! Cursors: a sort key and what it is a place in, opaque to clients.
//!
//! A cursor says everything itself, so it holds on every server and after a restart. It grants nothing: whoever forges
//! one is still shown only what their own requests may read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::error::BadInput;
use crate::messages_table::SortKey;
use crate::model::MessageGroupUuid;

/// Tags of the two kinds, with the format's version.
const GROUPS: &str = "g1";
const MESSAGES: &str = "m1";

/// A place in a user's list of message groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCursor(pub SortKey);

/// A place in a group's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageCursor {
    /// The group it is a place in.
    pub group: MessageGroupUuid,
    /// The place.
    pub sort_key: SortKey,
}

impl GroupCursor {
    /// The text for clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{GROUPS} {}", self.0))
    }

    /// Reads the argument `name`.
    pub fn decode(name: &'static str, text: &str) -> Result<Self, BadInput> {
        let decoded = decode(text).ok_or(BadInput::CursorInvalid(name))?;
        let key = decoded.split_once(' ').filter(|(tag, _)| *tag == GROUPS).and_then(|(_, key)| SortKey::read(key));
        key.map(Self).filter(|cursor| cursor.encode() == text).ok_or(BadInput::CursorInvalid(name))
    }
}

impl MessageCursor {
    /// The text for clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{MESSAGES} {} {}", self.group, self.sort_key))
    }

    /// Reads the argument `name`, which must be a place in `group`.
    pub fn decode(name: &'static str, text: &str, group: MessageGroupUuid) -> Result<Self, BadInput> {
        let read = || {
            let decoded = decode(text)?;
            let mut parts = decoded.splitn(3, ' ');
            (parts.next()? == MESSAGES).then_some(())?;
            let of = Uuid::try_parse(parts.next()?).ok().map(MessageGroupUuid)?;
            Some(Self { group: of, sort_key: SortKey::read(parts.next()?)? })
        };
        // Only in the spelling that was given out.
        read().filter(|cursor| cursor.group == group && cursor.encode() == text).ok_or(BadInput::CursorInvalid(name))
    }
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_only_where_they_belong() {
        let group = MessageGroupUuid(Uuid::from_u128(1));
        for key in ["2026-11-22T10:42:39.123456Z#7a", "2022-05-04 10:42:39.123456+05:30", "2022-05-04T10:42:39"] {
            let sort_key = SortKey::read(key).expect(key);
            let of_group = GroupCursor(sort_key.clone());
            let of_message = MessageCursor { group, sort_key };
            assert_eq!(GroupCursor::decode("after", &of_group.encode()), Ok(of_group.clone()));
            assert_eq!(MessageCursor::decode("after", &of_message.encode(), group), Ok(of_message.clone()));
            let invalid = Err(BadInput::CursorInvalid("after"));
            assert_eq!(GroupCursor::decode("after", &of_message.encode()), invalid);
            let invalid = Err(BadInput::CursorInvalid("before"));
            assert_eq!(MessageCursor::decode("before", &of_group.encode(), group), invalid);
            let elsewhere = MessageGroupUuid(Uuid::from_u128(2));
            assert_eq!(MessageCursor::decode("before", &of_message.encode(), elsewhere), invalid);
        }
        for text in ["", "x", "nonsense", "ZzEgeWVzdGVyZGF5", "é", &"Z".repeat(5000)] {
            assert!(GroupCursor::decode("after", text).is_err(), "{text}");
            assert!(MessageCursor::decode("after", text, group).is_err(), "{text}");
        }
    }
}
