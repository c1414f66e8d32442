//! What a request can be refused for, and what can go wrong with it.

use std::time::Duration;

use super::limits::{MAX_BODY_CHARS, MAX_PAGE};
use crate::messages_table::TableError;
use crate::users::UsersError;

/// The end of a request that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// What the client sent cannot be done; another try will not help.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// The group does not exist, or the user takes no part in it: the two are not told apart.
    #[error("There is no such message group.")]
    NoSuchGroup,
    /// The user has sent so many messages that others come first.
    #[error("You are sending too many messages.")]
    Throttled {
        /// When the next one may be sent.
        retry_after: Duration,
    },
    /// A store is unreachable or overloaded.
    #[error("a store is unavailable")]
    Unavailable {
        /// What the store's client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether a message may have been stored all the same.
        outcome_unknown: bool,
    },
    /// A fault of the program or of its stores, which only an operator can mend.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<TableError> for MessagingError {
    fn from(error: TableError) -> Self {
        if error.is_unavailable() {
            Self::Unavailable { source: Box::new(error), outcome_unknown: false }
        } else {
            Self::Internal(Box::new(error))
        }
    }
}

impl From<UsersError> for MessagingError {
    fn from(error: UsersError) -> Self {
        match error {
            UsersError::Unavailable(_) => Self::Unavailable { source: Box::new(error), outcome_unknown: false },
            UsersError::Refused(_) => Self::Internal(Box::new(error)),
        }
    }
}

/// What is wrong with the input. The text is for the client's developer, [`BadInput::reason`] for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// Nothing but white space.
    #[error("The message is blank.")]
    MessageBlank,
    /// Longer than a message may be.
    #[error("The message is longer than {MAX_BODY_CHARS} characters.")]
    MessageTooLong,
    /// Nothing but white space.
    #[error("The handle is blank.")]
    HandleBlank,
    /// No user has the handle.
    #[error("There is no user with that handle.")]
    RecipientNotFound,
    /// The author's own handle.
    #[error("You cannot write to yourself.")]
    RecipientIsSelf,
    /// Not a cursor of this connection.
    #[error("The cursor `{0}` is not one that this connection gave out.")]
    CursorInvalid(&'static str),
    /// A page size out of bounds, or two of them.
    #[error("{0} Give one of `first` and `last`, from 0 to {MAX_PAGE}.")]
    PageSizeInvalid(&'static str),
    /// A time window that ends before it begins.
    #[error("`createdTo` is before `createdFrom`.")]
    WindowInvalid,
}

impl BadInput {
    /// The name that clients compare with.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MessageBlank => "message_blank",
            Self::MessageTooLong => "message_exceed_max_chars",
            Self::HandleBlank => "handle_blank",
            Self::RecipientNotFound => "recipient_not_found",
            Self::RecipientIsSelf => "recipient_is_self",
            Self::CursorInvalid(_) => "cursor_invalid",
            Self::PageSizeInvalid(_) => "page_size_invalid",
            Self::WindowInvalid => "window_invalid",
        }
    }
}
