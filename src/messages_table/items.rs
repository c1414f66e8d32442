//! Conversion between the table's items and the [records](super::records). No other module reads or names the attributes
//! of an item.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use super::keys::{self, MESSAGE_GROUP_UUID, PK, SK, SortKey};
use super::records::{GroupRow, Membership, Message};
use crate::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};

/// An item in the SDK's representation.
pub type Item = HashMap<String, AttributeValue>;

/// Text of a message. In a row: text of the group's newest message.
pub const MESSAGE: &str = "message";
const MESSAGE_UUID: &str = "message_uuid";
/// Author of a message. In a row: the other participant.
pub const USER_UUID: &str = "user_uuid";
const USER_HANDLE: &str = "user_handle";
const USER_DISPLAY_NAME: &str = "user_display_name";
/// In a row: author of the newest message. Legacy rows lack this attribute.
const MESSAGE_USER_UUID: &str = "message_user_uuid";
/// In a pair item: the group. The name differs from `message_group_uuid`, which would put the item into the index.
const GROUP_UUID: &str = "group_uuid";
const PARTICIPANTS: &str = "participants";
/// In a membership item: see [`Membership::version`].
pub const VERSION: &str = "version";
/// In a membership item: see [`Membership::is_legacy`]. Stored items have this name, so it cannot change.
const FROM_EARLIER_SYSTEM: &str = "from_earlier_system";

/// The attributes that conversion of messages and rows reads.
pub const PROJECTION: [&str; 9] =
    [PK, SK, MESSAGE_GROUP_UUID, MESSAGE, MESSAGE_UUID, USER_UUID, USER_HANDLE, USER_DISPLAY_NAME, MESSAGE_USER_UUID];

/// An item whose attributes do not match the kind of item that its key says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {pk} / {sk}: attribute {attribute} {problem}")]
pub struct ItemError {
    pk: String,
    sk: String,
    attribute: &'static str,
    problem: &'static str,
}

impl ItemError {
    /// An error about `attribute` of `item`. `problem` completes a sentence that starts with the attribute.
    pub(crate) fn new(item: &Item, attribute: &'static str, problem: &'static str) -> Self {
        AttributeReader(item).error(attribute, problem)
    }
}

/// The value of an attribute. Conversion needs only strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A string.
    Text(&'a str),
    /// A value of another type.
    Other,
}

/// Access to an item's attributes, decoded by the SDK or by [`response_reader`](super::response_reader).
pub trait Attributes {
    /// The attribute `name`, or `None` when the item lacks it.
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;
}

impl Attributes for Item {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.get(name).map(|value| value.as_s().map_or(Attribute::Other, |text| Attribute::Text(text)))
    }
}

/// Converts one item.
pub(super) type Convert<T> = fn(&dyn Attributes) -> Result<T, ItemError>;

/// Reads attributes of one item. Its errors name the item.
struct AttributeReader<'a>(&'a dyn Attributes);

impl AttributeReader<'_> {
    fn error(&self, attribute: &'static str, problem: &'static str) -> ItemError {
        let key = |name: &str| match self.0.attribute(name) {
            Some(Attribute::Text(text)) => text.to_owned(),
            _ => String::new(),
        };
        ItemError { pk: key(PK), sk: key(SK), attribute, problem }
    }

    fn text(&self, attribute: &'static str) -> Result<&str, ItemError> {
        match self.0.attribute(attribute) {
            Some(Attribute::Text(text)) => Ok(text),
            Some(Attribute::Other) => Err(self.error(attribute, "is not a string")),
            None => Err(self.error(attribute, "is missing")),
        }
    }

    fn uuid(&self, attribute: &'static str) -> Result<Uuid, ItemError> {
        Uuid::try_parse(self.text(attribute)?).map_err(|_| self.error(attribute, "is not a uuid"))
    }

    fn sort_key(&self) -> Result<SortKey, ItemError> {
        SortKey::read(self.text(SK)?).ok_or_else(|| self.error(SK, "is not a time"))
    }

    /// The names are copies that serve only when Postgres no longer has the user, so an item without them is accepted.
    fn participant(&self) -> Result<Participant, ItemError> {
        let name = |attribute| self.text(attribute).map(str::to_owned).unwrap_or_default();
        Ok(Participant {
            uuid: UserUuid(self.uuid(USER_UUID)?),
            names: Arc::new(NameCopy { handle: name(USER_HANDLE), display_name: name(USER_DISPLAY_NAME) }),
        })
    }

    fn key_uuid<T>(&self, of: fn(&str) -> Option<Result<T, uuid::Error>>) -> Result<T, ItemError> {
        match of(self.text(PK)?) {
            Some(Ok(uuid)) => Ok(uuid),
            Some(Err(_)) => Err(self.error(PK, "does not end in a uuid")),
            None => Err(self.error(PK, "belongs to another kind of item")),
        }
    }
}

fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn put_participant(item: &mut Item, participant: &Participant) {
    item.insert(USER_UUID.into(), text(participant.uuid));
    item.insert(USER_HANDLE.into(), text(&participant.names.handle));
    item.insert(USER_DISPLAY_NAME.into(), text(&participant.names.display_name));
}

/// The primary key of an item.
pub fn key(pk: String, sk: &str) -> Item {
    Item::from([(PK.to_owned(), AttributeValue::S(pk)), (SK.to_owned(), text(sk))])
}

/// Converts a message to its item.
pub fn from_message(message: &Message) -> Item {
    let mut item = key(keys::messages_pk(message.group), message.sort_key.as_str());
    item.insert(MESSAGE_UUID.into(), text(message.uuid));
    item.insert(MESSAGE.into(), text(&message.body));
    put_participant(&mut item, &message.author);
    item
}

/// Converts the item of a message of either system.
pub fn to_message(item: &dyn Attributes) -> Result<Message, ItemError> {
    let reader = AttributeReader(item);
    let sort_key = reader.sort_key()?;
    Ok(Message {
        uuid: MessageUuid(reader.uuid(MESSAGE_UUID)?),
        group: reader.key_uuid(keys::group_of_messages_pk)?,
        author: reader.participant()?,
        body: reader.text(MESSAGE)?.to_owned(),
        created_at: sort_key.created_at().ok_or_else(|| reader.error(SK, "is not a time"))?,
        sort_key,
    })
}

/// The item of a message group row.
pub fn from_group_row(row: &GroupRow) -> Item {
    let mut item = key(keys::groups_pk(row.owner), row.sort_key.as_str());
    item.insert(MESSAGE_GROUP_UUID.into(), text(row.group));
    item.insert(MESSAGE.into(), text(&row.body));
    put_participant(&mut item, &row.other);
    if let Some(author) = row.author {
        item.insert(MESSAGE_USER_UUID.into(), text(author));
    }
    item
}

/// Converts the item of a message group row of either system.
pub fn to_group_row(item: &dyn Attributes) -> Result<GroupRow, ItemError> {
    let reader = AttributeReader(item);
    Ok(GroupRow {
        owner: reader.key_uuid(keys::user_of_groups_pk)?,
        group: MessageGroupUuid(reader.uuid(MESSAGE_GROUP_UUID)?),
        other: reader.participant()?,
        body: reader.text(MESSAGE)?.to_owned(),
        author: item.attribute(MESSAGE_USER_UUID).map(|_| reader.uuid(MESSAGE_USER_UUID).map(UserUuid)).transpose()?,
        sort_key: reader.sort_key()?,
    })
}

/// The pair item, which stores the group that two users share.
pub fn from_pair(participants: &[Participant; 2], group: MessageGroupUuid) -> Item {
    let [one, other] = participants;
    let mut item = key(keys::pair_pk(one.uuid, other.uuid), keys::PAIR_SK);
    item.insert(GROUP_UUID.into(), text(group));
    item
}

/// Reads the group from a pair item.
pub fn to_pair(item: &Item) -> Result<MessageGroupUuid, ItemError> {
    AttributeReader(item).uuid(GROUP_UUID).map(MessageGroupUuid)
}

/// Converts a membership to its item.
pub fn from_membership(membership: &Membership) -> Item {
    let mut item = key(keys::membership_pk(membership.group), keys::MEMBERSHIP_SK);
    let participants = membership.participants.iter().map(|participant| {
        let mut map = Item::new();
        put_participant(&mut map, participant);
        AttributeValue::M(map)
    });
    item.insert(PARTICIPANTS.into(), AttributeValue::L(participants.collect()));
    item.insert(VERSION.into(), AttributeValue::N(membership.version.to_string()));
    if membership.is_legacy {
        item.insert(FROM_EARLIER_SYSTEM.into(), AttributeValue::Bool(true));
    }
    item
}

/// Converts the membership item of `group`.
pub fn to_membership(group: MessageGroupUuid, item: &Item) -> Result<Membership, ItemError> {
    let reader = AttributeReader(item);
    let list = match item.get(PARTICIPANTS) {
        Some(AttributeValue::L(list)) => list,
        _ => return Err(reader.error(PARTICIPANTS, "is missing or not a list")),
    };
    let participants = list
        .iter()
        .map(|entry| match entry {
            AttributeValue::M(map) => AttributeReader(map).participant(),
            _ => Err(reader.error(PARTICIPANTS, "has an entry that is not a map")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let version = match item.get(VERSION) {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    };
    Ok(Membership {
        group,
        participants: participants.try_into().map_err(|_| reader.error(PARTICIPANTS, "does not have two entries"))?,
        is_legacy: item.get(FROM_EARLIER_SYSTEM) == Some(&AttributeValue::Bool(true)),
        version: version.ok_or_else(|| reader.error(VERSION, "is missing or not a whole number"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> Participant {
        Participant {
            uuid: UserUuid(Uuid::from_u128(number)),
            names: Arc::new(NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") }),
        }
    }

    fn message() -> Message {
        let uuid = MessageUuid(Uuid::from_u128(9));
        let created_at = "2026-11-22T10:42:39.123456Z".parse().expect("a time");
        Message {
            uuid,
            group: MessageGroupUuid(Uuid::from_u128(8)),
            author: user(1),
            body: "hello".into(),
            created_at,
            sort_key: SortKey::of_message(created_at, uuid),
        }
    }

    fn row(author: Option<UserUuid>) -> GroupRow {
        let Message { group, body, sort_key, .. } = message();
        GroupRow { owner: user(2).uuid, group, other: user(1), body, author, sort_key }
    }

    #[test]
    fn records_survive_conversion_to_items_and_back() {
        assert_eq!(to_message(&from_message(&message())), Ok(message()));
        for author in [None, Some(user(1).uuid)] {
            assert_eq!(to_group_row(&from_group_row(&row(author))), Ok(row(author)));
        }
        let group = message().group;
        assert_eq!(to_pair(&from_pair(&[user(1), user(2)], group)), Ok(group));
        for is_legacy in [false, true] {
            let membership = Membership { group, participants: [user(1), user(2)], is_legacy, version: 3 };
            assert_eq!(to_membership(group, &from_membership(&membership)), Ok(membership));
        }
    }

    #[test]
    fn only_rows_are_in_the_index() {
        let group = message().group;
        let membership = Membership { group, participants: [user(1), user(2)], is_legacy: true, version: 1 };
        for item in [from_message(&message()), from_pair(&membership.participants, group), from_membership(&membership)]
        {
            assert!(!item.contains_key(MESSAGE_GROUP_UUID), "{item:?}");
        }
        assert!(from_group_row(&row(None)).contains_key(MESSAGE_GROUP_UUID));
    }

    #[test]
    fn the_error_names_the_malformed_attribute() {
        let whole = from_message(&message());
        for attribute in [PK, SK, MESSAGE, MESSAGE_UUID, USER_UUID] {
            let mut missing = whole.clone();
            missing.remove(attribute);
            assert_eq!(to_message(&missing).map_err(|error| error.attribute), Err(attribute));
            let mut odd = whole.clone();
            odd.insert(attribute.into(), AttributeValue::N("1".into()));
            assert_eq!(to_message(&odd).map_err(|error| error.attribute), Err(attribute));
        }
        let mut without_names = whole;
        without_names.remove(USER_HANDLE);
        assert_eq!(to_message(&without_names).map(|message| message.author.names.handle.clone()), Ok(String::new()));
    }
}
