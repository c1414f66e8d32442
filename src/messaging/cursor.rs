//! Cursors: positions in a list, opaque to clients.
//!
//! A cursor contains a sort key and the kind of its list. The cursor of a message also contains the group. A cursor needs no
//! state of a server, so it is valid on every server and after a restart. It grants no access: a forged cursor changes only
//! where a page of the caller's own lists starts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::error::BadInput;
use crate::messages_table::SortKey;
use crate::model::MessageGroupUuid;

/// The first word of a cursor: the kind of list and the version of the format.
const GROUPS: &str = "g1";
const MESSAGES: &str = "m1";

/// A position in a user's list of message groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCursor(pub SortKey);

/// A position in a group's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageCursor {
    /// Group of the messages.
    pub group: MessageGroupUuid,
    /// Sort key of the message at the position.
    pub sort_key: SortKey,
}

impl GroupCursor {
    /// Encodes the cursor for clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{GROUPS} {}", self.0))
    }

    /// Decodes `text`, the value of the argument `name`.
    pub fn decode(name: &'static str, text: &str) -> Result<Self, BadInput> {
        let decoded = decode(text).ok_or(BadInput::CursorInvalid(name))?;
        let key = decoded.split_once(' ').filter(|(tag, _)| *tag == GROUPS).and_then(|(_, key)| SortKey::read(key));
        key.map(Self).filter(|cursor| cursor.encode() == text).ok_or(BadInput::CursorInvalid(name))
    }
}

impl MessageCursor {
    /// Encodes the cursor for clients.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{MESSAGES} {} {}", self.group, self.sort_key))
    }

    /// Decodes `text`, the value of the argument `name`. It must be a position in `group`.
    pub fn decode(name: &'static str, text: &str, group: MessageGroupUuid) -> Result<Self, BadInput> {
        let read = || {
            let decoded = decode(text)?;
            let mut parts = decoded.splitn(3, ' ');
            (parts.next()? == MESSAGES).then_some(())?;
            let group = Uuid::try_parse(parts.next()?).ok().map(MessageGroupUuid)?;
            Some(Self { group, sort_key: SortKey::read(parts.next()?)? })
        };
        // Rejects other encodings of the same position, because clients must not build cursors.
        read().filter(|cursor| cursor.group == group && cursor.encode() == text).ok_or(BadInput::CursorInvalid(name))
    }
}

/// Decodes the base64 of a cursor.
pub(super) fn decode(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_only_in_its_own_connection() {
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
