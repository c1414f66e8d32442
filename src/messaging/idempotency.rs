//! Idempotent sends: requests of one user with the same idempotency key store one message.
//!
//! The first request stores the key with the uuid and the time of its message, and then the message. A request that
//! finds the key stored writes the same message again. The message has the same sort key, so it is stored at most once,
//! even if several servers write it. If the first request ended between its two writes, the next request completes it.
//! The message then has the time of the first request.
//!
//! A repeated request must have the same body, and its handle or group must identify the same conversation. A repeated
//! request with the handle of the first request always identifies the conversation of the first request, even if the
//! handle belongs to another user now.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::TimeDelta;

use super::error::{BadInput, MessagingError};
use super::groups::GroupView;
use super::retry::Retry;
use super::send::{Conversation, Draft, NewMessage, Recipient};
use super::service::Messaging;
use crate::messages_table::{FirstRequest, Hash};
use crate::model::{IdempotencyKey, User, UserUuid};

/// Time for which a key is kept.
const RETENTION: TimeDelta = TimeDelta::days(30);

/// The values of a request that are compared with those of the first request with the same key.
struct Said {
    body_hash: Hash,
    handle_hash: Option<Hash>,
    recipient: Option<UserUuid>,
}

impl Said {
    fn by(message: &NewMessage) -> Self {
        let handle_hash = match &message.to {
            Recipient::Handle(handle) => Some(sha256(handle)),
            Recipient::Group(_) => None,
        };
        Self { body_hash: sha256(&message.body), handle_hash, recipient: message.recipient }
    }

    /// Whether the request repeats `first`. `conversation` is the conversation that the request identifies now.
    fn repeats(&self, first: &FirstRequest, conversation: &Conversation) -> bool {
        // If the first request has no group, the users had no group at that time, so they have only one now.
        let is_same_group = first.group.is_none() || first.group == conversation.group();
        self.body_hash == first.body_hash && conversation.recipient() == first.recipient && is_same_group
    }

    /// Whether the request repeats `first` with the same handle. The handle may belong to another user now.
    fn repeats_handle(&self, first: &FirstRequest) -> bool {
        self.body_hash == first.body_hash
            && self.handle_hash.is_some()
            && self.handle_hash == first.handle_hash
            && self.recipient.is_none_or(|recipient| recipient == first.recipient)
    }
}

impl Messaging {
    /// Stores a message with an idempotency key, unless the user has sent it before. In both cases, returns its group,
    /// with this message as the last message.
    pub(super) async fn send_once(
        &self,
        author: &Arc<User>,
        key: IdempotencyKey,
        message: NewMessage,
    ) -> Result<GroupView, MessagingError> {
        let said = Said::by(&message);
        let conversation = match self.conversation(author, &message.to, message.recipient).await {
            Ok(conversation) => conversation,
            Err(MessagingError::BadInput(problem)) => {
                // The request is invalid now and must not store a key. But it may repeat a first request whose handle
                // belonged to another user at that time.
                let first = self.table.first_request(author.uuid, key).await?;
                let first = first.filter(|first| said.repeats_handle(first)).ok_or(problem)?;
                return self.send_again(author, first, message.body).await;
            }
            Err(error) => return Err(error),
        };
        let draft = self.draft(author, message.body);
        let request = FirstRequest {
            author: author.uuid,
            key,
            message_uuid: draft.uuid,
            sort_key: draft.sort_key.clone(),
            recipient: conversation.recipient(),
            group: conversation.group(),
            body_hash: said.body_hash,
            handle_hash: said.handle_hash,
            expires_at: self.environment.now() + RETENTION,
        };
        let put = || self.table.put_first_request(&request);
        match Retry::run_before_message(&*self.environment, put).await? {
            None => self.store(author, conversation, draft).await,
            Some(first) if said.repeats(&first, &conversation) => {
                let draft = Draft { uuid: first.message_uuid, sort_key: first.sort_key, ..draft };
                self.store(author, conversation, draft).await
            }
            Some(first) if said.repeats_handle(&first) => self.send_again(author, first, draft.body).await,
            Some(_) => Err(BadInput::IdempotencyKeyReused.into()),
        }
    }

    /// Stores the message of `first` in the conversation of `first`, unless the table has the message already.
    async fn send_again(
        &self,
        author: &Arc<User>,
        first: FirstRequest,
        body: String,
    ) -> Result<GroupView, MessagingError> {
        let group = match first.group {
            Some(group) => Some(group),
            None => self.table.group_of_users(author.uuid, first.recipient).await?,
        };
        let conversation = match group {
            Some(group) => Conversation::Existing(self.member(author, group).await?),
            None => {
                let recipient = self.users.by_uuids(&[first.recipient]).await?.remove(&first.recipient);
                Conversation::New(recipient.ok_or(BadInput::RecipientNotFound)?)
            }
        };
        let author_names = (&**author).into();
        let draft = Draft { uuid: first.message_uuid, sort_key: first.sort_key, author: author_names, body };
        self.store(author, conversation, draft).await
    }
}

fn sha256(text: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
