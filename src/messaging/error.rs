//! Errors of the rules: invalid input, and failures of the stores.

use std::time::Duration;

use super::limits::{MAX_BODY_CHARS, MAX_PAGE};
use crate::messages_table::TableError;
use crate::users::UsersError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// The input is invalid. A retry fails too.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// The group does not exist, or the user is not a participant. The error is the same, so that it does not reveal whether
    /// the group exists.
    #[error("The message group does not exist.")]
    NoSuchGroup,
    /// The user has reached the maximum number of messages per minute.
    #[error("You are sending too many messages. Please wait before you send the next one.")]
    Throttled {
        /// Time until the user may send the next message.
        retry_after: Duration,
    },
    /// A store is unreachable or overloaded, or other writes interfered with all attempts. A retry can succeed.
    #[error("a store is unavailable")]
    Unavailable {
        /// Error of the store's client.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether the message may have been stored.
        outcome_unknown: bool,
    },
    /// A defect of the program, its configuration or its stores, which an operator must fix.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<TableError> for MessagingError {
    fn from(error: TableError) -> Self {
        // A list that is too long counts as unavailable, because the same request succeeds after an operator has run
        // `ddb adopt-legacy`.
        if error.is_unavailable() || matches!(error, TableError::ListTooLong { .. }) {
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

/// Why the input is invalid. The text is for developers of clients. Programs compare [`BadInput::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// The message is empty or contains only white space.
    #[error("The message must not be blank.")]
    MessageBlank,
    /// The message has too many Unicode code points.
    #[error("The message must have at most {MAX_BODY_CHARS} characters.")]
    MessageTooLong,
    /// The handle is empty or contains only white space.
    #[error("The handle must not be blank.")]
    HandleBlank,
    /// No user has the handle.
    #[error("No user has this handle.")]
    RecipientNotFound,
    /// The handle belongs to the author.
    #[error("You cannot send a message to yourself.")]
    RecipientIsSelf,
    /// The recipient is not the user whom the client means.
    #[error("The recipient is not the user `recipientUuid`. The handle may belong to another user now.")]
    RecipientChanged,
    /// An earlier message of the user has the same idempotency key.
    #[error(
        "A message with another body or recipient has this `idempotencyKey`. Use a new random UUID for each message."
    )]
    IdempotencyKeyReused,
    /// The argument is not a cursor of this connection.
    #[error("`{0}` is not a cursor of this connection. Pass a cursor that a page of the same connection contains.")]
    CursorInvalid(&'static str),
    /// The page size is too small or too large.
    #[error("`{argument}` must be between {minimum} and {MAX_PAGE}, got {size}.")]
    PageSizeOutOfBounds {
        /// Name of the argument.
        argument: &'static str,
        /// The smallest size of such a page.
        minimum: u8,
        /// The requested size.
        size: i32,
    },
    /// The request has two page sizes.
    #[error("`first` and `last` cannot be combined.")]
    PageSizesCombined,
    /// The time window ends before it starts.
    #[error("`createdTo` must not be before `createdFrom`.")]
    WindowInvalid,
}

impl BadInput {
    /// The value of `extensions.reason`, which clients compare. It never changes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MessageBlank => "message_blank",
            Self::MessageTooLong => "message_exceed_max_chars",
            Self::HandleBlank => "handle_blank",
            Self::RecipientNotFound => "recipient_not_found",
            Self::RecipientIsSelf => "recipient_is_self",
            Self::RecipientChanged => "recipient_changed",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::CursorInvalid(_) => "cursor_invalid",
            Self::PageSizeOutOfBounds { .. } | Self::PageSizesCombined => "page_size_invalid",
            Self::WindowInvalid => "window_invalid",
        }
    }
}
