//! Ids and users: the words that the stores, the rules and the stream consumer share. Plain data without I/O.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            /// Lower case with hyphens, as keys and attributes spell it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_newtype!(
    /// A user's uuid: `users.uuid` in Postgres.
    UserUuid
);
uuid_newtype!(
    /// A conversation's uuid.
    MessageGroupUuid
);
uuid_newtype!(
    /// A message's uuid.
    MessageUuid
);

/// A user as Postgres has them at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub uuid: UserUuid,
    /// Unique, compared exactly.
    pub handle: String,
    /// The name shown to people.
    pub display_name: String,
}

/// The copy of a user's names that an item carries. It serves only when the user is gone from Postgres.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCopy {
    /// The handle at the time of writing.
    pub handle: String,
    /// The display name at the time of writing.
    pub display_name: String,
}

impl From<&User> for NameCopy {
    fn from(user: &User) -> Self {
        Self { handle: user.handle.clone(), display_name: user.display_name.clone() }
    }
}

/// One of the two users of a message group, with the names an item copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Who it is.
    pub uuid: UserUuid,
    /// The names at the time of writing. Shared: a list repeats those of its viewer in every row.
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
