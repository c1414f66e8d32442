//! Sends messages: access patterns C (to an existing group) and D (the first message to a handle).
//!
//! Each request generates the uuid and the time of its message once. They stay the same in all retries, and if pattern D
//! continues as pattern C. If an earlier attempt has stored the message, a retry finds it under the same key and reports
//! success. The file `idempotency.rs` extends this to several requests.

use std::sync::Arc;

use super::error::{BadInput, MessagingError};
use super::groups::{GroupView, view};
use super::legacy::pair_of;
use super::limits::MAX_BODY_CHARS;
use super::membership::Member;
use super::retry::Retry;
use super::service::Messaging;
use crate::messages_table::{Created, Membership, Message, SortKey};
use crate::model::{IdempotencyKey, MessageGroupUuid, MessageUuid, Participant, User, UserUuid};

/// The recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The user with this handle. A group is created if the two users share none.
    Handle(String),
    /// The other participant of this group.
    Group(MessageGroupUuid),
}

/// A request to send a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Recipient of the message.
    pub to: Recipient,
    /// Text of the message.
    pub body: String,
    /// User for whom the message is intended. If `to` identifies another user, the message is not stored.
    pub recipient: Option<UserUuid>,
    /// Idempotency key. All requests of one author with the same key store only one message.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// The conversation to which a message is sent.
pub(super) enum Conversation {
    /// An existing group.
    Existing(Member),
    /// A new group with this user. The author and this user share no group yet.
    New(Arc<User>),
}

impl Conversation {
    /// The other participant.
    pub(super) fn recipient(&self) -> UserUuid {
        match self {
            Self::Existing(member) => member.other().uuid,
            Self::New(recipient) => recipient.uuid,
        }
    }

    /// The group, if it exists.
    pub(super) fn group(&self) -> Option<MessageGroupUuid> {
        match self {
            Self::Existing(member) => Some(member.group()),
            Self::New(_) => None,
        }
    }
}

/// A message whose group is not known yet.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) uuid: MessageUuid,
    pub(super) sort_key: SortKey,
    pub(super) author: Participant,
    pub(super) body: String,
}

impl Draft {
    fn for_group(self, group: MessageGroupUuid) -> Message {
        let Self { uuid, sort_key, author, body } = self;
        // The sort key always contains an instant.
        let created_at = sort_key.created_at().unwrap_or_default();
        Message { uuid, group, author, body, created_at, sort_key }
    }
}

impl Messaging {
    /// Stores a message and returns its group, with this message as the last message. The returned values are not read from the
    /// table after the write.
    ///
    /// # Errors
    /// [`MessagingError::BadInput`], [`MessagingError::NoSuchGroup`] and [`MessagingError::Throttled`]: this request stored
    /// nothing. [`MessagingError::Unavailable`] with `outcome_unknown`: the message may have been stored.
    pub async fn send(&self, author: &Arc<User>, message: NewMessage) -> Result<GroupView, MessagingError> {
        check_body(&message.body)?;
        let now = self.environment.monotonic();
        self.throttle.take(author.uuid, now).map_err(|retry_after| MessagingError::Throttled { retry_after })?;
        if let Some(key) = message.idempotency_key {
            // Boxed, because the future is large and not every request has a key.
            return Box::pin(self.send_once(author, key, message)).await;
        }
        let conversation = self.conversation(author, &message.to, message.recipient).await?;
        self.store(author, conversation, self.draft(author, message.body)).await
    }

    /// Finds the conversation that `to` identifies. Checks that `author` may send to it, and that the recipient is the user
    /// `expected`, if it is set.
    pub(super) async fn conversation(
        &self,
        author: &Arc<User>,
        to: &Recipient,
        expected: Option<UserUuid>,
    ) -> Result<Conversation, MessagingError> {
        let is_expected = |recipient: UserUuid| expected.is_none_or(|expected| expected == recipient);
        match to {
            Recipient::Group(group) => {
                let member = self.member(author, *group).await?;
                if !is_expected(member.other().uuid) {
                    return Err(BadInput::RecipientChanged.into());
                }
                Ok(Conversation::Existing(member))
            }
            Recipient::Handle(handle) => {
                let recipient = self.user_to_write_to(handle).await?;
                if !is_expected(recipient.uuid) {
                    return Err(BadInput::RecipientChanged.into());
                }
                if recipient.uuid == author.uuid {
                    return Err(BadInput::RecipientIsSelf.into());
                }
                Ok(match self.group_of_pair(author, &recipient).await? {
                    Some(membership) => {
                        Conversation::Existing(Member { user: author.clone(), membership, is_stored: true })
                    }
                    None => Conversation::New(recipient),
                })
            }
        }
    }

    async fn user_to_write_to(&self, handle: &str) -> Result<Arc<User>, MessagingError> {
        if handle.trim().is_empty() {
            return Err(BadInput::HandleBlank.into());
        }
        Ok(self.users.by_handle(handle).await?.ok_or(BadInput::RecipientNotFound)?)
    }

    /// Creates the draft of a message, with a new uuid and the current time.
    pub(super) fn draft(&self, author: &User, body: String) -> Draft {
        let uuid = MessageUuid(self.environment.new_uuid());
        Draft { uuid, sort_key: SortKey::of_message(self.environment.now(), uuid), author: author.into(), body }
    }

    /// Stores the message of a draft in a conversation, unless it is already stored.
    pub(super) async fn store(
        &self,
        author: &Arc<User>,
        conversation: Conversation,
        draft: Draft,
    ) -> Result<GroupView, MessagingError> {
        match conversation {
            Conversation::New(recipient) => self.create(author, &recipient, draft).await,
            Conversation::Existing(member) => {
                self.ensure_adopted(&member).await?;
                self.append(member, draft).await
            }
        }
    }

    /// Pattern C: stores the message in an existing group.
    async fn append(&self, member: Member, draft: Draft) -> Result<GroupView, MessagingError> {
        let message = draft.for_group(member.group());
        Retry::run(&*self.environment, || self.table.put_message(&message)).await?;
        Ok(view(&member, message))
    }

    /// Pattern D: creates a group with its first message. If the pair already shares a group, stores the message there.
    async fn create(&self, author: &Arc<User>, recipient: &User, draft: Draft) -> Result<GroupView, MessagingError> {
        let participants = [Participant::from(&**author), Participant::from(recipient)];
        let group = MessageGroupUuid(self.environment.new_uuid());
        let membership = Membership::begin(group, participants);
        let message = draft.clone().for_group(group);
        let mut retry = Retry::new(&*self.environment);
        let shared = loop {
            // With the same token, DynamoDB executes the transaction only once in ten minutes. Each request generates
            // its own token, because a repeated request has the same message but another group.
            let token = Some(group.to_string());
            match self.table.create_conversation(token, &membership, &message, &message).await {
                Ok(Created::Done) => break group,
                Ok(Created::PairExists(shared)) => break shared,
                Ok(Created::Conflict) => retry.after_conflict().await?,
                Err(error) => retry.after_error(error).await?,
            }
        };
        if shared == group {
            let member = Member { user: author.clone(), membership: self.remember(membership), is_stored: true };
            self.pairs.insert(pair_of(author, recipient), group);
            return Ok(view(&member, message));
        }
        let membership = self.membership_of_pair(shared, membership.participants).await?;
        let member = Member { user: author.clone(), membership, is_stored: true };
        self.append(member, draft).await
    }
}

fn check_body(body: &str) -> Result<(), BadInput> {
    if body.trim().is_empty() {
        return Err(BadInput::MessageBlank);
    }
    // A code point has at most four bytes, so a body with more bytes than this is too long without counting.
    if body.len() > 4 * MAX_BODY_CHARS || body.chars().count() > MAX_BODY_CHARS {
        return Err(BadInput::MessageTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_counted_in_code_points() {
        for fits in ["a", " a ", &"a".repeat(1024), &"é".repeat(1024), &"\u{1f600}".repeat(1024)] {
            assert_eq!(check_body(fits), Ok(()));
        }
        for blank in ["", " ", "\n\t\u{a0}\u{3000}"] {
            assert_eq!(check_body(blank), Err(BadInput::MessageBlank));
        }
        for long in ["a".repeat(1025), "\u{1f600}".repeat(1025), "a".repeat(1 << 20)] {
            assert_eq!(check_body(&long), Err(BadInput::MessageTooLong));
        }
    }
}
