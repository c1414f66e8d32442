//! Conversion between feed entries and their items.
//!
//! | attribute | description |
//! |---|---|
//! | `entry_id`, `event_count`, `written_at`, `expires_at` | see [`FeedEntry`] |
//! | `group_uuid` | the group. The name differs from `message_group_uuid`, which would put the item into the index |
//! | `messages` | list of maps: `sk`, `message_uuid`, `message`, and `own` (true) if the owner is the author. A reset lacks it |
//! | `newer` | a map like those of `messages` |
//! | `user_uuid`, `user_handle`, `user_display_name` | the other participant |
//! | `received_count`, `read_count`, `read_sk`, `counted_sk` | what the owner has received and read, as in a row |

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use super::attributes::{AttributeReader, Item, ItemError, number, primary_key, text};
use super::feed::{FedMessage, FedMessages, FeedContent, FeedEntry, FeedHead};
use super::items::{EXPIRES_AT, GROUP_UUID, MESSAGE, MESSAGE_UUID, put_participant, put_reading};
use super::keys::{self, SK};
use crate::model::{MessageGroupUuid, MessageUuid, UserUuid};

pub const ENTRY_ID: &str = "entry_id";
pub const EVENTS: &str = "event_count";
const MESSAGES: &str = "messages";
const NEWER: &str = "newer";
const OWN: &str = "own";
const WRITTEN_AT: &str = "written_at";

/// Returns the item of a feed entry.
pub fn from_feed_entry(entry: &FeedEntry) -> Item {
    let mut item = primary_key(keys::feed_pk(entry.owner), &keys::feed_sk(entry.position));
    item.insert(ENTRY_ID.into(), text(&entry.id));
    item.insert(EVENTS.into(), number(entry.events));
    item.insert(WRITTEN_AT.into(), number(entry.written_at));
    item.insert(GROUP_UUID.into(), text(entry.content.group()));
    if let Some(expires_at) = entry.expires_at {
        item.insert(EXPIRES_AT.into(), number(expires_at));
    }
    if let FeedContent::Messages(fed) = &entry.content {
        let messages = fed.messages.iter().map(from_message).collect();
        item.insert(MESSAGES.into(), AttributeValue::L(messages));
        item.extend(fed.newer.iter().map(|newer| (NEWER.to_owned(), from_message(newer))));
        put_participant(&mut item, &fed.other);
        put_reading(&mut item, &fed.reading);
    }
    item
}

/// Converts the item of an entry in the feed of `owner`.
pub fn to_feed_entry(owner: UserUuid, item: &Item) -> Result<FeedEntry, ItemError> {
    let reader = AttributeReader(item);
    let group = MessageGroupUuid(reader.uuid(GROUP_UUID)?);
    let content = match item.get(MESSAGES) {
        None => FeedContent::Reset(group),
        Some(AttributeValue::L(list)) if !list.is_empty() => FeedContent::Messages(Arc::new(FedMessages {
            group,
            other: reader.participant()?,
            messages: list.iter().map(|message| to_message(&reader, MESSAGES, message)).collect::<Result<_, _>>()?,
            newer: item.get(NEWER).map(|newer| to_message(&reader, NEWER, newer)).transpose()?,
            reading: reader.reading()?.unwrap_or_default(),
        })),
        Some(_) => return Err(reader.error(MESSAGES, "is not a list with entries")),
    };
    let FeedHead { position, events, id } = to_feed_head(item)?;
    let (written_at, expires_at) = (reader.number(WRITTEN_AT)?, reader.optional_number(EXPIRES_AT)?);
    Ok(FeedEntry { owner, position, id, events, written_at, expires_at, content })
}

/// Converts the item of the last entry of a feed. Reads only the attributes that the writer of the next entry needs.
pub fn to_feed_head(item: &Item) -> Result<FeedHead, ItemError> {
    let reader = AttributeReader(item);
    let position = keys::position_of_feed_sk(reader.text(SK)?);
    Ok(FeedHead {
        position: position.ok_or_else(|| reader.error(SK, "is not a position"))?,
        events: reader.number(EVENTS)?,
        id: reader.text(ENTRY_ID)?.to_owned(),
    })
}

fn from_message(message: &FedMessage) -> AttributeValue {
    let mut map = Item::from([
        (SK.to_owned(), text(&message.sort_key)),
        (MESSAGE_UUID.to_owned(), text(message.uuid)),
        (MESSAGE.to_owned(), text(&message.body)),
    ]);
    if message.is_own {
        map.insert(OWN.into(), AttributeValue::Bool(true));
    }
    AttributeValue::M(map)
}

fn to_message(
    entry: &AttributeReader<'_>,
    attribute: &'static str,
    value: &AttributeValue,
) -> Result<FedMessage, ItemError> {
    let AttributeValue::M(map) = value else { return Err(entry.error(attribute, "has an entry that is not a map")) };
    let reader = AttributeReader(map);
    let read = || {
        Some(FedMessage {
            sort_key: reader.sort_key().ok()?,
            uuid: MessageUuid(Uuid::try_parse(reader.text(MESSAGE_UUID).ok()?).ok()?),
            body: reader.text(MESSAGE).ok()?.to_owned(),
            is_own: map.contains_key(OWN),
        })
    };
    read().ok_or_else(|| entry.error(attribute, "has a malformed message"))
}
