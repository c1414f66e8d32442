//! Sending: patterns C (to a group that exists) and D (to a handle).

use std::sync::Arc;
use std::time::Duration;

use super::groups::{GroupView, view};
use super::{BadInput, Member, Messaging, MessagingError};
use crate::messages_table::{Created, GroupRow, Membership, Message, SortKey, TableError};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User};

/// The longest body, in Unicode code points.
pub const MAX_BODY_CHARS: usize = 1024;

/// How often a write is begun anew when DynamoDB was unavailable or busy with the same items, after the SDK's own tries.
const ATTEMPTS: u32 = 6;
/// The first wait between two attempts, doubled each time, with up to as much again by chance.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The user with this handle; begins a conversation where there is none.
    Handle(String),
    /// Everybody in this group.
    Group(MessageGroupUuid),
}

/// A message that was stored, and its group with it on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// The group as the author sees it.
    pub group: GroupView,
}

/// A message before it is known which group it goes to. Drawn once for a request: its uuid and time go through every
/// retry and from pattern D to C, so that a retry finds what an earlier try has stored.
struct Draft {
    uuid: MessageUuid,
    sort_key: SortKey,
    author: Participant,
    body: String,
}

impl Draft {
    fn for_group(&self, group: MessageGroupUuid) -> Message {
        Message {
            uuid: self.uuid,
            group,
            author: self.author.clone(),
            body: self.body.clone(),
            // A key made from a time says that time.
            created_at: self.sort_key.created_at().unwrap_or_default(),
            sort_key: self.sort_key.clone(),
        }
    }
}

impl Messaging {
    /// Stores a message and answers with what was stored, without reading it again.
    ///
    /// # Errors
    /// [`MessagingError::BadInput`] and [`MessagingError::NoSuchGroup`] write nothing; after
    /// [`MessagingError::Unavailable`] with `outcome_unknown` the message may be stored.
    pub async fn send(&self, author: &Arc<User>, to: Recipient, body: String) -> Result<Sent, MessagingError> {
        check_body(&body)?;
        let member = match to {
            Recipient::Group(group) => self.member(author, group).await?,
            Recipient::Handle(handle) => {
                let recipient = self.recipient(author, &handle).await?;
                match self.group_of_pair(author, &recipient).await? {
                    Some(group) => self.member(author, group).await?,
                    None => return self.begin(author, &recipient, self.draft(author, body)).await,
                }
            }
        };
        self.ensure_written_down(&member).await?;
        self.append(member, &self.draft(author, body)).await
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

    /// Pattern C.
    async fn append(&self, member: Member, draft: &Draft) -> Result<Sent, MessagingError> {
        let message = draft.for_group(member.group());
        let mut attempts = Attempts::default();
        while let Err(error) = self.table.put_message(&message).await {
            attempts.another_after(error).await?;
        }
        Ok(Sent { group: view(&member, message.clone()), message })
    }

    /// Pattern D. When the pair turns out to share a group already, the same draft goes there.
    async fn begin(&self, author: &Arc<User>, recipient: &User, draft: Draft) -> Result<Sent, MessagingError> {
        let participants = [Participant::from(&**author), Participant::from(recipient)];
        let group = MessageGroupUuid(self.environment.new_uuid());
        let membership = Membership { group, participants, from_earlier_system: false, version: 1 };
        let message = draft.for_group(group);
        let rows = [row(&membership, &message, author), row(&membership, &message, recipient)];
        let mut attempts = Attempts::default();
        let shared = loop {
            match self.table.create_conversation(&membership, &message, &rows).await {
                Ok(Created::Done) => break group,
                Ok(Created::PairExists(shared)) => break shared,
                Ok(Created::Conflict) => attempts.another_after_conflict().await?,
                Err(error) => attempts.another_after(error).await?,
            }
        };
        if shared == group {
            let member = Member { user: author.clone(), membership: self.remember(membership), written_down: true };
            self.pairs.insert((author.uuid.min(recipient.uuid), author.uuid.max(recipient.uuid)), group);
            return Ok(Sent { group: view(&member, message.clone()), message });
        }
        let member = self.member(author, shared).await?;
        self.append(member, &draft).await
    }
}

/// The row of a new group in `owner`'s list.
fn row(membership: &Membership, message: &Message, owner: &User) -> GroupRow {
    GroupRow {
        owner: owner.uuid,
        group: membership.group,
        other: membership.other_than(owner.uuid).clone(),
        body: message.body.clone(),
        author: Some(message.author.uuid),
        sort_key: message.sort_key.clone(),
    }
}

fn check_body(body: &str) -> Result<(), BadInput> {
    if body.trim().is_empty() {
        return Err(BadInput::MessageBlank);
    }
    // A code point takes four bytes at most: what is longer than that need not be counted.
    if body.len() > 4 * MAX_BODY_CHARS || body.chars().count() > MAX_BODY_CHARS {
        return Err(BadInput::MessageTooLong);
    }
    Ok(())
}

/// Counts the attempts of one write and waits between them.
#[derive(Default)]
struct Attempts {
    made: u32,
    /// Whether some attempt may have written although it failed.
    outcome_unknown: bool,
}

impl Attempts {
    /// Waits before another attempt after `error`, or gives up with it.
    async fn another_after(&mut self, error: TableError) -> Result<(), MessagingError> {
        if !error.is_unavailable() {
            return Err(error.into());
        }
        self.outcome_unknown = true;
        if self.wait().await { Ok(()) } else { Err(MessagingError::from(error).after_write()) }
    }

    /// Waits before another attempt after a conflict, or gives up.
    async fn another_after_conflict(&mut self) -> Result<(), MessagingError> {
        if self.wait().await {
            return Ok(());
        }
        let source = "another transaction held the items every time".into();
        Err(MessagingError::Unavailable { source, outcome_unknown: self.outcome_unknown })
    }

    async fn wait(&mut self) -> bool {
        self.made += 1;
        if self.made >= ATTEMPTS {
            return false;
        }
        let wait = FIRST_WAIT * 2u32.pow(self.made - 1);
        tokio::time::sleep(wait.mul_f64(1.0 + rand::random::<f64>())).await;
        true
    }
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
