//! Activities: the union `Activity` and its types.

use async_graphql::{ContextSelectionSet, Union, Value};

use super::budget::Meter;
use super::engine::{FastPath, NotResolved, object};
use super::scalars::{Instant, UuidText};
use super::user::ParticipantObject;
use crate::live::activity::Activity;
use crate::model::{MessageGroupUuid, Participant};

/// An action of a user: typing, or marking messages as read. Activities are not stored, so a client that is not connected
/// misses them.
#[derive(Union)]
#[graphql(name = "Activity")]
pub enum ActivityObject {
    /// The other participant is typing.
    TypingStarted(TypingStarted),
    /// A participant has marked messages as read.
    ReadMarkerMoved(ReadMarkerMoved),
}

impl FastPath for ActivityObject {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        match self {
            Self::TypingStarted(activity) => activity.resolve_now(context, meter),
            Self::ReadMarkerMoved(activity) => activity.resolve_now(context, meter),
        }
    }
}

/// The other participant is typing.
pub struct TypingStarted {
    group: MessageGroupUuid,
    user: Participant,
    expires_at: Instant,
}

object! {
    /// The other participant of a message group is typing.
    "TypingStarted" for TypingStarted;
    fields(&self) {
        /// Unique identifier of the message group.
        "messageGroupUuid" message_group_uuid: UuidText = UuidText(self.group.0);
        /// User who is typing.
        "user" user: ParticipantObject<'_> = ParticipantObject(&self.user);
        /// Time at which clients should stop showing that the user is typing, 6 seconds after the signal. If another
        /// `TypingStarted` arrives before that, use its `expiresAt` instead.
        "expiresAt" expires_at: Instant = self.expires_at;
    }
}

/// A participant has marked messages as read.
pub struct ReadMarkerMoved {
    group: MessageGroupUuid,
    user: Participant,
    read_cursor: String,
    unread_count: Option<i32>,
}

object! {
    /// A participant of a message group has called `markRead`: the signed-in user, on any device, or the other participant.
    "ReadMarkerMoved" for ReadMarkerMoved;
    fields(&self) {
        /// Unique identifier of the message group.
        "messageGroupUuid" message_group_uuid: UuidText = UuidText(self.group.0);
        /// User who has read the messages.
        "user" user: ParticipantObject<'_> = ParticipantObject(&self.user);
        /// Cursor of the newest message that the user has read. All earlier messages count as read too.
        "readCursor" read_cursor: &str = &self.read_cursor;
        /// Number of messages that the user has not read. Null unless the user is the signed-in user.
        "unreadCount" unread_count: Option<i32> = self.unread_count;
    }
}

impl From<Activity> for ActivityObject {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::TypingStarted { group, user, expires_at } => {
                Self::TypingStarted(TypingStarted { group, user, expires_at: Instant(expires_at) })
            }
            Activity::ReadMarkerMoved { group, user, read_cursor, unread } => {
                let unread_count = unread.map(|unread| i32::try_from(unread).unwrap_or(i32::MAX));
                Self::ReadMarkerMoved(ReadMarkerMoved { group, user, read_cursor, unread_count })
            }
        }
    }
}
