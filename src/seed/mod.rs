//! Sample data: a few users and conversations between them. Seeding twice changes nothing.

mod conversations;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use self::conversations::{CONVERSATIONS, Conversation};
use crate::messages_table::{Created, Membership, Message, MessagesTable, SortKey, TableError};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User, UserUuid};
use crate::users::{Users, UsersError};

/// Namespace of the seeded uuids. They are derived from names, so every run has the same ones.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e0f_3c52_8d0b_4f0c_9a58_2f4b_7c11_d9e3);

/// The seeded users: handle and display name.
pub const USERS: [(&str, &str); 5] = [
    ("ana", "Ana Ferreira"),
    ("ben", "Ben Okafor"),
    ("chloe", "Chloé Marchand"),
    ("dmitri", "Дмитрий Волков"),
    ("esi", "Esi Mensah"),
];

/// Why seeding failed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Postgres.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// DynamoDB.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The id of a seeded user at the local token issuer.
pub fn local_cognito_user_id(handle: &str) -> String {
    Uuid::new_v5(&NAMESPACE, format!("cognito {handle}").as_bytes()).to_string()
}

/// The uuids of the seeded users. Their handles can have changed.
pub fn user_uuids() -> [UserUuid; USERS.len()] {
    USERS.map(|(handle, _)| UserUuid(Uuid::new_v5(&NAMESPACE, format!("user {handle}").as_bytes())))
}

/// Adds the users whose handle and uuid are free. Returns their number.
pub async fn seed_users(users: &Users, cognito_user_id: impl Fn(&str) -> String) -> Result<usize, SeedError> {
    let mut added = 0;
    for ((handle, display_name), uuid) in USERS.into_iter().zip(user_uuids()) {
        let user = User { uuid, handle: handle.to_owned(), display_name: display_name.to_owned() };
        let email = format!("{handle}@example.com");
        added += usize::from(users.seed(&user, &email, &cognito_user_id(handle)).await?);
    }
    Ok(added)
}

/// The result of seeding messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Number of conversations that were created.
    pub conversations: usize,
    /// Number of conversations that were skipped, because the two users have another conversation already.
    pub left_alone: usize,
    /// Number of conversations that were skipped, because no user has one of the handles.
    pub without_users: usize,
    /// Number of messages that were written.
    pub messages: usize,
    /// Number of messages that existed already.
    pub messages_there: usize,
}

/// Write units of the transaction that creates a conversation: two for each of its five items of at most 1 KB, and one for each
/// row in the index.
const UNITS_OF_A_BEGINNING: usize = 12;

/// Maximum number of write units of seeding.
pub fn write_units() -> usize {
    let messages: usize = CONVERSATIONS.iter().map(|conversation| conversation.lines().count()).sum();
    CONVERSATIONS.len() * (UNITS_OF_A_BEGINNING - 1) + messages
}

/// Writes the conversations for the users who have the handles in Postgres. A run that was interrupted is completed by the next
/// one.
pub async fn seed_messages(table: &MessagesTable, users: &Users) -> Result<Seeded, SeedError> {
    let mut found: HashMap<&str, Arc<User>> = HashMap::new();
    let mut seeded = Seeded::default();
    for conversation in CONVERSATIONS {
        for handle in conversation.handles {
            if !found.contains_key(handle)
                && let Some(user) = users.by_handle(handle).await?
            {
                found.insert(handle, user);
            }
        }
        let [Some(one), Some(other)] = conversation.handles.map(|handle| found.get(handle)) else {
            seeded.without_users += 1;
            continue;
        };
        let [one, other] = [one, other].map(|user| Participant::from(&**user));
        let messages = messages(conversation, &one, &other);
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { continue };
        let membership = Membership::begin(first.group, [one, other]);
        let mut begun = false;
        let shared = match table.group_of_pair(&membership.participants).await? {
            Some(group) => Some(group),
            None => match table.create_conversation(None, &membership, first, last).await? {
                Created::Done => {
                    seeded.conversations += 1;
                    seeded.messages += 1;
                    begun = true;
                    Some(first.group)
                }
                Created::PairExists(group) => Some(group),
                Created::Conflict => None,
            },
        };
        if shared != Some(first.group) {
            seeded.left_alone += 1;
            continue;
        }
        seeded.messages_there += usize::from(!begun);
        for message in &messages[1..] {
            if table.put_message(message).await? {
                seeded.messages += 1;
            } else {
                seeded.messages_there += 1;
            }
        }
    }
    Ok(seeded)
}

fn messages(conversation: &Conversation, one: &Participant, other: &Participant) -> Vec<Message> {
    let named = |what: &str| Uuid::new_v5(&NAMESPACE, format!("{what} {} {}", one.uuid, other.uuid).as_bytes());
    let group = MessageGroupUuid(named("group"));
    let begins: DateTime<Utc> = conversation.begins.parse().unwrap_or_default();
    let lines = conversation.lines().enumerate();
    let message = |(index, (speaker, body)): (usize, (&str, &str))| {
        let uuid = MessageUuid(named(&format!("message {index}")));
        // Irregular intervals, as between people, with microseconds, as the server draws them.
        let step = i64::try_from(index).unwrap_or_default();
        let created_at = begins
            + TimeDelta::seconds(step * conversation.seconds_apart + (step * 37) % 41)
            + TimeDelta::microseconds((step * 271_828) % 1_000_000);
        let author = if speaker == conversation.handles[0] { one } else { other };
        Message {
            uuid,
            group,
            author: author.clone(),
            body: body.to_owned(),
            created_at,
            sort_key: SortKey::of_message(created_at, uuid),
        }
    };
    lines.map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NameCopy;

    #[test]
    fn the_seed_has_a_long_conversation_over_two_years_two_short_ones_and_a_user_without() {
        let user = |handle: &str| Participant {
            uuid: UserUuid(Uuid::new_v5(&NAMESPACE, handle.as_bytes())),
            names: NameCopy { handle: handle.to_owned(), display_name: String::new() }.into(),
        };
        let all: Vec<Vec<Message>> =
            CONVERSATIONS.iter().map(|it| messages(it, &user(it.handles[0]), &user(it.handles[1]))).collect();
        let [long, short, other_short] = all.as_slice() else { panic!("three conversations") };
        assert!(long.len() >= 60 && short.len() >= 2 && other_short.len() >= 2);
        let years: Vec<String> = long.iter().map(|message| message.created_at.format("%Y").to_string()).collect();
        assert!(years.first() < years.last());
        for messages in &all {
            assert!(messages.is_sorted_by(|a, b| a.sort_key < b.sort_key));
            assert!(messages.iter().all(|message| !message.body.trim().is_empty()));
        }
        let talks = |handle| CONVERSATIONS.iter().any(|conversation| conversation.handles.contains(&handle));
        assert!(USERS.iter().any(|(handle, _)| !talks(*handle)));
        for conversation in CONVERSATIONS {
            assert!(conversation.lines().all(|(speaker, _)| conversation.handles.contains(&speaker)));
        }
    }
}
