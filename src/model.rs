//! Ids and users: plain data that the stores, the rules and the stream consumer share.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            /// Lower case with hyphens, as in keys and attributes.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_newtype!(
    /// The uuid of a user: `users.uuid` in Postgres.
    UserUuid
);
uuid_newtype!(
    /// The uuid of a message group.
    MessageGroupUuid
);
uuid_newtype!(
    /// The uuid of a message.
    MessageUuid
);
uuid_newtype!(
    /// The key that a client gives to a message, so that it may repeat the request. Different users may have the same key.
    IdempotencyKey
);

/// A user in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Unique identifier. Never changes.
    pub uuid: UserUuid,
    /// Unique, compared exactly.
    pub handle: String,
    /// Name to show in a user interface.
    pub display_name: String,
}

/// The names of a user that an item has copied. They are used if Postgres has no such user any more, or if it
/// does not respond while an event of a subscription is resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCopy {
    /// The handle when the item was written.
    pub handle: String,
    /// The display name when the item was written.
    pub display_name: String,
}

impl From<&User> for NameCopy {
    fn from(user: &User) -> Self {
        Self { handle: user.handle.clone(), display_name: user.display_name.clone() }
    }
}

/// One of the two users of a message group, with the names that an item has copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The user.
    pub uuid: UserUuid,
    /// The names when the item was written. Shared, because a list repeats those of its viewer in every row.
    pub names: Arc<NameCopy>,
}

impl From<&User> for Participant {
    fn from(user: &User) -> Self {
        Self { uuid: user.uuid, names: Arc::new(user.into()) }
    }
}

impl From<&Participant> for User {
    /// The user with the names that the item has copied.
    fn from(participant: &Participant) -> Self {
        let NameCopy { handle, display_name } = (*participant.names).clone();
        Self { uuid: participant.uuid, handle, display_name }
    }
}
