//! Batch loading: all users that one level of a request wants, with one SELECT.

use std::collections::HashMap;
use std::sync::Arc;

use dataloader::BatchFn;
use dataloader::cached::Loader;

use super::{Users, UsersError};
use crate::model::{User, UserUuid};

type Loaded = Result<Option<Arc<User>>, Arc<UsersError>>;

/// Loads users for one request. One request only: a cancelled request must not fail the loads of another, and what one
/// has seen must not outlive it.
pub struct UserLoader(Loader<UserUuid, Loaded, Batch>);

struct Batch(Users);

impl BatchFn<UserUuid, Loaded> for Batch {
    /// Answers every key, since the crate takes a missing one for a fault of the batch.
    async fn load(&mut self, keys: &[UserUuid]) -> HashMap<UserUuid, Loaded> {
        match self.0.by_uuids(keys).await {
            Ok(mut found) => keys.iter().map(|key| (*key, Ok(found.remove(key)))).collect(),
            Err(error) => {
                let error = Arc::new(error);
                keys.iter().map(|key| (*key, Err(error.clone()))).collect()
            }
        }
    }
}

impl UserLoader {
    /// A loader for one request.
    pub fn new(users: Users) -> Self {
        Self(Loader::new(Batch(users)).with_max_batch_size(usize::MAX))
    }

    /// The user, or `None` when they are gone.
    pub async fn load(&self, uuid: UserUuid) -> Loaded {
        // Outside the scheduler's budget: past 128 loads in one poll it would hold some back, beyond the window in which
        // the crate gathers a batch.
        match tokio::task::unconstrained(self.0.try_load(uuid)).await {
            Ok(loaded) => loaded,
            Err(error) => Err(Arc::new(UsersError::Unavailable(sqlx::Error::Io(error)))),
        }
    }
}
