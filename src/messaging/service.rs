//! The state that all rules share: the stores, the throttle and the caches.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::throttle::Throttle;
use crate::environment::Environment;
use crate::messages_table::{Membership, MessagesTable};
use crate::model::{MessageGroupUuid, UserUuid};
use crate::users::Users;

/// Maximum number of entries in each cache. An entry takes about 300 bytes. Cached facts never change, so entries do not
/// expire.
const CACHE_CAPACITY: usize = 50_000;

/// The rules of direct messages over the two stores. Cheap to clone: clones share caches and throttle.
#[derive(Clone)]
pub struct Messaging {
    pub(super) table: MessagesTable,
    pub(super) users: Users,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) throttle: Arc<Throttle>,
    /// Memberships that are stored in the table.
    pub(super) memberships: Arc<Cache<MessageGroupUuid, Arc<Membership>>>,
    /// Memberships of legacy groups that were not adopted yet, derived from the user's own row.
    pub(super) legacy_memberships: Arc<Cache<(UserUuid, MessageGroupUuid), Arc<Membership>>>,
    /// Groups of pairs, by the uuids of both users.
    pub(super) pairs: Arc<Cache<[UserUuid; 2], MessageGroupUuid>>,
}

impl Messaging {
    /// The rules over `table` and `users`. Each user may send `messages_per_minute` messages in this process; 0 means no
    /// limit.
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
            memberships: Arc::new(Cache::new(CACHE_CAPACITY)),
            legacy_memberships: Arc::new(Cache::new(CACHE_CAPACITY)),
            pairs: Arc::new(Cache::new(CACHE_CAPACITY)),
        }
    }

    /// The users, for callers that show names.
    pub fn users(&self) -> &Users {
        &self.users
    }
}
