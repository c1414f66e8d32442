//! Batch loading: one SELECT for all users of one level of a request.

use std::collections::HashMap;
use std::sync::Arc;

use dataloader::BatchFn;
use dataloader::cached::Loader;

use super::{Users, UsersError};
use crate::model::{User, UserUuid};

type Loaded = Result<Option<Arc<User>>, Arc<UsersError>>;

/// Loads users for one request. Each request has its own loader, because a cancelled request would fail the loads of the
/// others, and the loader's cache must not outlive the request.
pub struct UserLoader(Loader<UserUuid, Loaded, Batch>);

struct Batch(Users);

impl BatchFn<UserUuid, Loaded> for Batch {
    /// Returns a value for every key, because the crate treats a missing one as an error of the batch.
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

    /// The user, or `None` if they do not exist any more.
    pub async fn load(&self, uuid: UserUuid) -> Loaded {
        // Without tokio's cooperative budget: after 128 loads in one poll it would delay the others beyond the window in which
        // the crate collects a batch.
        match tokio::task::unconstrained(self.0.try_load(uuid)).await {
            Ok(loaded) => loaded,
            Err(error) => Err(Arc::new(UsersError::Unavailable(sqlx::Error::Io(error)))),
        }
    }
}
