//! Sending messages: access patterns C (to an existing group) and D (the first message to a handle).
//!
//! The uuid and time of a message are drawn once for each request and kept in all retries and when pattern D continues as
//! pattern C. A retry whose first attempt stored the message finds it under the same key and reports success.

use std::sync::Arc;

use super::error::{BadInput, MessagingError};
use super::groups::{GroupView, view};
use super::legacy::pair_of;
use super::limits::MAX_BODY_CHARS;
use super::membership::Member;
use super::retry::Retry;
use super::service::Messaging;
use crate::messages_table::{Created, Membership, Message, SortKey};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User};

/// The recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The user with this handle. A group is created if the two users share none.
    Handle(String),
    /// The other participant of this group.
    Group(MessageGroupUuid),
}

/// A message whose group is not known yet.
#[derive(Clone)]
struct Draft {
    uuid: MessageUuid,
    sort_key: SortKey,
    author: Participant,
    body: String,
}

impl Draft {
    fn for_group(self, group: MessageGroupUuid) -> Message {
        let Self { uuid, sort_key, author, body } = self;
        // The key was made from an instant, so it contains one.
        let created_at = sort_key.created_at().unwrap_or_default();
        Message { uuid, group, author, body, created_at, sort_key }
    }
}

impl Messaging {
    /// Stores a message and returns its group, with the message as the last one. Reads neither of them back.
    ///
    /// # Errors
    /// [`MessagingError::BadInput`], [`MessagingError::NoSuchGroup`] and [`MessagingError::Throttled`]: nothing was stored.
    /// [`MessagingError::Unavailable`] with `outcome_unknown`: the message may have been stored.
    pub async fn send(&self, author: &Arc<User>, to: Recipient, body: String) -> Result<GroupView, MessagingError> {
        check_body(&body)?;
        let now = self.environment.monotonic();
        self.throttle.take(author.uuid, now).map_err(|retry_after| MessagingError::Throttled { retry_after })?;
        let member = match to {
            Recipient::Group(group) => self.member(author, group).await?,
            Recipient::Handle(handle) => {
                let recipient = self.recipient(author, &handle).await?;
                match self.group_of_pair(author, &recipient).await? {
                    Some(membership) => Member { user: author.clone(), membership, is_stored: true },
                    None => return self.create(author, &recipient, self.draft(author, body)).await,
                }
            }
        };
        self.ensure_adopted(&member).await?;
        self.append(member, self.draft(author, body)).await
    }

    async fn recipient(&self, author: &User, handle: &str) -> Result<Arc<User>, MessagingError> {
        if handle.trim().is_empty() {
            return Err(BadInput::HandleBlank.into());
        }
        let recipient = self.users.by_handle(handle).await?.ok_or(BadInput::RecipientNotFound)?;
        if recipient.uuid == author.uuid {
            return Err(BadInput::RecipientIsSelf.into());
        }
        Ok(recipient)
    }

    fn draft(&self, author: &User, body: String) -> Draft {
        let uuid = MessageUuid(self.environment.new_uuid());
        Draft { uuid, sort_key: SortKey::of_message(self.environment.now(), uuid), author: author.into(), body }
    }

    /// Pattern C: stores the message in an existing group.
    async fn append(&self, member: Member, draft: Draft) -> Result<GroupView, MessagingError> {
        let message = draft.for_group(member.group());
        Retry::run(&*self.environment, || self.table.put_message(&message)).await?;
        Ok(view(&member, message))
    }

    /// Pattern D: creates a group with its first message. When the pair shares a group already, the same draft is stored there.
    async fn create(&self, author: &Arc<User>, recipient: &User, draft: Draft) -> Result<GroupView, MessagingError> {
        let participants = [Participant::from(&**author), Participant::from(recipient)];
        let group = MessageGroupUuid(self.environment.new_uuid());
        let membership = Membership::begin(group, participants);
        let message = draft.clone().for_group(group);
        let mut retry = Retry::new(&*self.environment);
        let shared = loop {
            // With the same token, DynamoDB executes the transaction once in ten minutes, whatever the number of attempts.
            let token = Some(message.uuid.to_string());
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
