//! The rules of direct messages: who may read and write what, what a page is, how a message is sent.
//!
//! Knows the two stores and nothing of GraphQL, HTTP or the stream.

mod cursor;
mod error;
mod groups;
mod history;
mod legacy;
mod limits;
mod membership;
mod page;
mod retry;
mod send;
mod throttle;

use std::sync::Arc;

use quick_cache::sync::Cache;

pub use self::cursor::{GroupCursor, MessageCursor};
pub use self::error::{BadInput, MessagingError};
pub use self::groups::GroupView;
pub use self::history::Window;
pub use self::limits::{DEFAULT_GROUPS_PAGE, DEFAULT_MESSAGES_PAGE, MAX_BODY_CHARS, MAX_PAGE};
pub use self::membership::Member;
pub use self::page::{Page, PageRequest};
pub use self::send::Recipient;
use self::throttle::Throttle;
use crate::environment::Environment;
use crate::messages_table::{Membership, MessagesTable};
use crate::model::{MessageGroupUuid, UserUuid};
use crate::users::Users;

/// How many memberships and how many pairs are remembered; some 300 bytes each. They never change once known.
const REMEMBERED: usize = 50_000;

/// The rules over the stores. Cheap to clone.
#[derive(Clone)]
pub struct Messaging {
    table: MessagesTable,
    users: Users,
    environment: Arc<dyn Environment>,
    throttle: Arc<Throttle>,
    /// Of groups whose membership is written down.
    memberships: Arc<Cache<MessageGroupUuid, Arc<Membership>>>,
    /// Of legacy groups, as the user's own row says.
    own_rows: Arc<Cache<(UserUuid, MessageGroupUuid), Arc<Membership>>>,
    pairs: Arc<Cache<[UserUuid; 2], MessageGroupUuid>>,
}

impl Messaging {
    /// The rules over `table` and `users`; each user may send `messages_per_minute`, 0 being no limit.
    pub fn new(
        table: MessagesTable,
        users: Users,
        environment: Arc<dyn Environment>,
        messages_per_minute: u32,
    ) -> Self {
        Self {
            table,
            users,
            environment,
            throttle: Arc::new(Throttle::new(messages_per_minute)),
            memberships: Arc::new(Cache::new(REMEMBERED)),
            own_rows: Arc::new(Cache::new(REMEMBERED)),
            pairs: Arc::new(Cache::new(REMEMBERED)),
        }
    }

    /// The users, for whoever shows names.
    pub fn users(&self) -> &Users {
        &self.users
    }
}
