//! Conversion between the table's items and the [records](super::records). Only this module and `feed_items` read and name
//! the attributes of these items.

use std::sync::Arc;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use super::attributes::{AttributeReader, Attributes, Item, ItemError, number, primary_key, text};
use super::fed::Fed;
use super::keys::{self, MESSAGE_GROUP_UUID, PK, SK, SortKey};
use super::reading::Reading;
use super::records::{FirstRequest, GroupRow, Hash, Membership, Message};
use crate::instant::format_instant;
use crate::model::{IdempotencyKey, MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};

/// Text of a message. In a row: text of the group's newest message.
pub const MESSAGE: &str = "message";
pub(super) const MESSAGE_UUID: &str = "message_uuid";
/// Author of a message. In a row: the other participant.
pub const USER_UUID: &str = "user_uuid";
const USER_HANDLE: &str = "user_handle";
const USER_DISPLAY_NAME: &str = "user_display_name";
/// In a row: author of the newest message. Legacy rows lack this attribute.
pub const MESSAGE_USER_UUID: &str = "message_user_uuid";
/// In a row: see [`Fed`].
pub const FED: &str = "fed";
/// In a row or a feed entry: see [`Reading`].
pub const RECEIVED: &str = "received_count";
pub const READ: &str = "read_count";
pub const READ_SK: &str = "read_sk";
pub const COUNTED_SK: &str = "counted_sk";
/// In the item of a pair, an idempotency key or a feed entry: the group. The name differs from `message_group_uuid`, which
/// would put the item into the index.
pub(super) const GROUP_UUID: &str = "group_uuid";
const PARTICIPANTS: &str = "participants";
/// In a membership item: see [`Membership::version`].
pub const VERSION: &str = "version";
/// In a membership item: see [`Membership::is_legacy`]. Stored items have this name, so it cannot change.
const FROM_EARLIER_SYSTEM: &str = "from_earlier_system";
/// In an idempotency key item: see [`FirstRequest`].
const MESSAGE_SK: &str = "message_sk";
const RECIPIENT_UUID: &str = "recipient_uuid";
const BODY_SHA256: &str = "body_sha256";
const HANDLE_SHA256: &str = "handle_sha256";
/// Time after which DynamoDB deletes the item, in seconds since 1970. It is the table's time to live attribute.
pub const EXPIRES_AT: &str = "expires_at";
/// In the marker: time at which the marker was written. For operators only; the program does not read it.
const ADOPTED_AT: &str = "adopted_at";

/// The attributes that conversion of messages and rows reads.
pub const PROJECTION: [&str; 14] = [
    PK,
    SK,
    MESSAGE_GROUP_UUID,
    MESSAGE,
    MESSAGE_UUID,
    USER_UUID,
    USER_HANDLE,
    USER_DISPLAY_NAME,
    MESSAGE_USER_UUID,
    FED,
    RECEIVED,
    READ,
    READ_SK,
    COUNTED_SK,
];

impl AttributeReader<'_> {
    fn optional_sort_key(&self, attribute: &'static str) -> Result<Option<SortKey>, ItemError> {
        let read = |text| SortKey::read(text).ok_or_else(|| self.error(attribute, "is not a time"));
        self.optional_text(attribute)?.map(read).transpose()
    }

    /// Reads what the owner of the item has received and read. `None` in a row that was written by a version without feeds.
    pub fn reading(&self) -> Result<Option<Reading>, ItemError> {
        let Some(received) = self.optional_number(RECEIVED)? else { return Ok(None) };
        Ok(Some(Reading {
            received,
            read: self.number(READ)?,
            marker: self.optional_sort_key(READ_SK)?,
            counted_to: self.optional_sort_key(COUNTED_SK)?,
        }))
    }

    pub fn sort_key(&self) -> Result<SortKey, ItemError> {
        self.optional_sort_key(SK)?.ok_or_else(|| self.error(SK, "is missing"))
    }

    /// Reads a participant. An item without the names is accepted, because these copies are used only if PostgreSQL does not
    /// have the user or does not respond.
    pub fn participant(&self) -> Result<Participant, ItemError> {
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

/// Returns the attributes of a reading. An attribute without a value is not stored.
pub(super) fn reading_attributes(reading: &Reading) -> [(&'static str, Option<AttributeValue>); 4] {
    [
        (RECEIVED, Some(number(reading.received))),
        (READ, Some(number(reading.read))),
        (READ_SK, reading.marker.as_ref().map(text)),
        (COUNTED_SK, reading.counted_to.as_ref().map(text)),
    ]
}

pub(super) fn put_reading(item: &mut Item, reading: &Reading) {
    let stored = reading_attributes(reading).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    item.extend(stored);
}

/// Returns the update expression that sets what was fed, received and read to the values of `row`. Adds its values to
/// `values`.
pub(super) fn progress_update(row: &GroupRow, values: &mut Item) -> String {
    let fed = (FED, (!row.fed.is_empty()).then(|| text(&row.fed)));
    let reading = row.reading.as_ref().map(reading_attributes);
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for (name, value) in std::iter::once(fed).chain(reading.into_iter().flatten()) {
        match value {
            Some(value) => {
                set.push(format!("{name} = :{name}"));
                values.insert(format!(":{name}"), value);
            }
            None => remove.push(name),
        }
    }
    let set = if set.is_empty() { String::new() } else { format!("SET {}", set.join(", ")) };
    let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(", ")) };
    set + &remove
}

pub(super) fn put_participant(item: &mut Item, participant: &Participant) {
    item.insert(USER_UUID.into(), text(participant.uuid));
    item.insert(USER_HANDLE.into(), text(&participant.names.handle));
    item.insert(USER_DISPLAY_NAME.into(), text(&participant.names.display_name));
}

/// Converts a message to its item.
pub fn from_message(message: &Message) -> Item {
    let mut item = primary_key(keys::messages_pk(message.group), message.sort_key.as_str());
    item.insert(MESSAGE_UUID.into(), text(message.uuid));
    item.insert(MESSAGE.into(), text(&message.body));
    put_participant(&mut item, &message.author);
    item
}

/// Converts the item of a message, of this system or the legacy system.
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

/// Converts a message group row to its item.
pub fn from_group_row(row: &GroupRow) -> Item {
    let mut item = primary_key(keys::groups_pk(row.owner), row.sort_key.as_str());
    item.insert(MESSAGE_GROUP_UUID.into(), text(row.group));
    item.insert(MESSAGE.into(), text(&row.body));
    put_participant(&mut item, &row.other);
    if let Some(author) = row.author {
        item.insert(MESSAGE_USER_UUID.into(), text(author));
    }
    if !row.fed.is_empty() {
        item.insert(FED.into(), text(&row.fed));
    }
    if let Some(reading) = &row.reading {
        put_reading(&mut item, reading);
    }
    item
}

/// Converts the item of a message group row, of this system or the legacy system.
pub fn to_group_row(item: &dyn Attributes) -> Result<GroupRow, ItemError> {
    let reader = AttributeReader(item);
    Ok(GroupRow {
        owner: reader.key_uuid(keys::user_of_groups_pk)?,
        group: MessageGroupUuid(reader.uuid(MESSAGE_GROUP_UUID)?),
        other: reader.participant()?,
        body: reader.text(MESSAGE)?.to_owned(),
        author: item.attribute(MESSAGE_USER_UUID).map(|_| reader.uuid(MESSAGE_USER_UUID).map(UserUuid)).transpose()?,
        sort_key: reader.sort_key()?,
        fed: match reader.optional_text(FED)? {
            Some(fed) => Fed::read(fed).ok_or_else(|| reader.error(FED, "is not a list of positions"))?,
            None => Fed::default(),
        },
        reading: reader.reading()?,
    })
}

/// Returns the pair item, which contains the group that two users share.
pub fn from_pair(participants: &[Participant; 2], group: MessageGroupUuid) -> Item {
    let [one, other] = participants;
    let mut item = primary_key(keys::pair_pk(one.uuid, other.uuid), keys::PAIR_SK);
    item.insert(GROUP_UUID.into(), text(group));
    item
}

/// Reads the group from a pair item.
pub fn to_pair(item: &Item) -> Result<MessageGroupUuid, ItemError> {
    AttributeReader(item).uuid(GROUP_UUID).map(MessageGroupUuid)
}

/// Reads only the other participant and the group from the item of a row.
pub fn to_other_and_group(item: &dyn Attributes) -> Result<(UserUuid, MessageGroupUuid), ItemError> {
    let reader = AttributeReader(item);
    Ok((UserUuid(reader.uuid(USER_UUID)?), MessageGroupUuid(reader.uuid(MESSAGE_GROUP_UUID)?)))
}

/// Returns the marker, which says that every legacy group is adopted.
pub fn from_marker(adopted_at: DateTime<Utc>) -> Item {
    let (pk, sk) = keys::MARKER;
    let mut item = primary_key(pk.to_owned(), sk);
    item.insert(ADOPTED_AT.into(), text(format_instant(adopted_at)));
    item
}

/// Converts a membership to its item.
pub fn from_membership(membership: &Membership) -> Item {
    let mut item = primary_key(keys::membership_pk(membership.group), keys::MEMBERSHIP_SK);
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

/// Converts the first request with an idempotency key to the item of the key. The item contains hashes instead of texts, so it
/// is smaller than 1 KB, and its put costs one write unit.
pub fn from_first_request(request: &FirstRequest) -> Item {
    let hash = |hash: &Hash| AttributeValue::B(Blob::new(hash));
    let mut item = primary_key(keys::idempotency_key_pk(request.author, request.key), keys::IDEMPOTENCY_KEY_SK);
    item.insert(MESSAGE_SK.into(), text(&request.sort_key));
    item.insert(RECIPIENT_UUID.into(), text(request.recipient));
    item.insert(BODY_SHA256.into(), hash(&request.body_hash));
    item.insert(EXPIRES_AT.into(), AttributeValue::N(request.expires_at.timestamp().to_string()));
    if let Some(group) = request.group {
        item.insert(GROUP_UUID.into(), text(group));
    }
    if let Some(handle) = &request.handle_hash {
        item.insert(HANDLE_SHA256.into(), hash(handle));
    }
    item
}

/// Converts the item of an idempotency key of `author`.
pub fn to_first_request(author: UserUuid, key: IdempotencyKey, item: &Item) -> Result<FirstRequest, ItemError> {
    let reader = AttributeReader(item);
    let hash = |attribute| match item.get(attribute) {
        Some(AttributeValue::B(hash)) => {
            hash.as_ref().try_into().map_err(|_| reader.error(attribute, "does not have 32 bytes"))
        }
        _ => Err(reader.error(attribute, "is missing or not binary")),
    };
    let expires_at = match item.get(EXPIRES_AT) {
        Some(AttributeValue::N(seconds)) => {
            seconds.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        }
        _ => None,
    };
    let sort_key = SortKey::read(reader.text(MESSAGE_SK)?);
    let (sort_key, message_uuid) = sort_key
        .and_then(|sort_key| sort_key.message_uuid().map(|uuid| (sort_key, uuid)))
        .ok_or_else(|| reader.error(MESSAGE_SK, "is not a time and a uuid"))?;
    Ok(FirstRequest {
        author,
        key,
        message_uuid,
        sort_key,
        recipient: UserUuid(reader.uuid(RECIPIENT_UUID)?),
        group: item.get(GROUP_UUID).map(|_| reader.uuid(GROUP_UUID).map(MessageGroupUuid)).transpose()?,
        body_hash: hash(BODY_SHA256)?,
        handle_hash: item.get(HANDLE_SHA256).map(|_| hash(HANDLE_SHA256)).transpose()?,
        expires_at: expires_at.ok_or_else(|| reader.error(EXPIRES_AT, "is missing or not a time in seconds"))?,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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
        let (fed, reading) = (Fed::default(), None);
        GroupRow { owner: user(2).uuid, group, other: user(1), body, author, sort_key, fed, reading }
    }

    fn first_request(group: Option<MessageGroupUuid>, handle_hash: Option<Hash>) -> FirstRequest {
        let Message { uuid, sort_key, author, .. } = message();
        FirstRequest {
            author: author.uuid,
            key: IdempotencyKey(Uuid::from_u128(7)),
            message_uuid: uuid,
            sort_key,
            recipient: user(2).uuid,
            group,
            body_hash: [1; 32],
            handle_hash,
            expires_at: "2026-12-22T10:42:39Z".parse().expect("a time"),
        }
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
        for request in [first_request(None, None), first_request(Some(group), Some([2; 32]))] {
            let item = from_first_request(&request);
            assert_eq!(to_first_request(request.author, request.key, &item), Ok(request));
        }
    }

    #[test]
    fn only_rows_are_in_the_index() {
        let group = message().group;
        let membership = Membership { group, participants: [user(1), user(2)], is_legacy: true, version: 1 };
        for item in [
            from_marker(message().created_at),
            from_message(&message()),
            from_pair(&membership.participants, group),
            from_membership(&membership),
            from_first_request(&first_request(Some(group), None)),
        ] {
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
        let request = first_request(Some(message().group), Some([2; 32]));
        let whole_key = from_first_request(&request);
        for attribute in [MESSAGE_SK, RECIPIENT_UUID, GROUP_UUID, BODY_SHA256, HANDLE_SHA256, EXPIRES_AT] {
            let mut odd = whole_key.clone();
            odd.insert(attribute.into(), AttributeValue::Bool(true));
            let converted = to_first_request(request.author, request.key, &odd);
            assert_eq!(converted.map_err(|error| error.attribute), Err(attribute));
        }
        let mut without_names = whole;
        without_names.remove(USER_HANDLE);
        assert_eq!(to_message(&without_names).map(|message| message.author.names.handle.clone()), Ok(String::new()));
    }
}
