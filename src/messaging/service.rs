//! The state that all rules share: the stores, the rate limit and the caches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::throttle::Throttle;
use crate::environment::Environment;
use crate::messages_table::{Membership, MessagesTable, RequestCalls, StoreCalls};
use crate::model::{MessageGroupUuid, UserUuid};
use crate::users::Users;

/// Maximum number of entries in each cache. An entry takes about 300 bytes. Entries do not expire, because the cached facts
/// never change. The only exception are negative results in [`LegacyAnswer`].
const CACHE_CAPACITY: usize = 50_000;

/// The result of a search for a user's legacy row of a group, and the time of the search. The result is the membership, and
/// whether its item is stored. `None` if the user has no row; this result is valid for a few seconds.
pub(super) type LegacyAnswer = (Instant, Option<(Arc<Membership>, bool)>);

/// The rules of direct messages over the two stores. Cheap to clone: clones share the caches and the rate limit.
#[derive(Clone)]
pub struct Messaging {
    pub(super) table: MessagesTable,
    pub(super) users: Users,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) throttle: Arc<Throttle>,
    /// How long feeds keep their entries. `None` if entries never expire.
    pub(super) feed_retention: Option<Duration>,
    /// The permits for the table calls of all requests.
    calls: Arc<StoreCalls>,
    /// Memberships that are stored in the table.
    pub(super) memberships: Arc<Cache<MessageGroupUuid, Arc<Membership>>>,
    /// Results of searches for legacy rows of groups without a membership item.
    pub(super) legacy_memberships: Arc<Cache<(UserUuid, MessageGroupUuid), LegacyAnswer>>,
    /// Groups of pairs, by the uuids of both users.
    pub(super) pairs: Arc<Cache<[UserUuid; 2], MessageGroupUuid>>,
}

impl Messaging {
    /// The rules over `table` and `users`. Each user may send `messages_per_minute` messages in this process; 0 means no
    /// limit. Requests may make `store_calls` concurrent calls to the table.
    pub fn new(
        table: MessagesTable,
        users: Users,
        environment: Arc<dyn Environment>,
        messages_per_minute: u32,
        store_calls: usize,
    ) -> Self {
        Self {
            table,
            users,
            environment,
            throttle: Arc::new(Throttle::new(messages_per_minute)),
            feed_retention: None,
            calls: StoreCalls::new(store_calls),
            memberships: Arc::new(Cache::new(CACHE_CAPACITY)),
            legacy_memberships: Arc::new(Cache::new(CACHE_CAPACITY)),
            pairs: Arc::new(Cache::new(CACHE_CAPACITY)),
        }
    }

    /// Sets how long feeds keep their entries. With `None`, the default, entries never expire. The stream consumer must
    /// have the same value.
    #[must_use]
    pub fn with_feed_retention(self, retention: Option<Duration>) -> Self {
        Self { feed_retention: retention, ..self }
    }

    /// Returns the same rules for one query, with the limits of its table calls.
    #[must_use]
    pub fn for_query(&self) -> Self {
        self.with_calls(self.calls.of_query())
    }

    /// Returns the same rules for one mutation, with the limits of its table calls.
    #[must_use]
    pub fn for_mutation(&self) -> Self {
        self.with_calls(self.calls.of_mutation())
    }

    fn with_calls(&self, calls: Arc<RequestCalls>) -> Self {
        Self { table: self.table.for_request(calls), ..self.clone() }
    }

    /// Returns the clock and the source of randomness.
    pub fn environment(&self) -> &dyn Environment {
        &*self.environment
    }

    /// Returns the users, for callers that need names.
    pub fn users(&self) -> &Users {
        &self.users
    }
}
