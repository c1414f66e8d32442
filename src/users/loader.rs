//! Batch loading: one SELECT for all users of one level of a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use dataloader::BatchFn;
use dataloader::cached::Loader;

use super::{Users, UsersError};
use crate::model::{User, UserUuid};

type Loaded = Result<Option<Arc<User>>, Arc<UsersError>>;

/// Loads users for one request. Each request has its own loader, because a cancelled request would fail the loads of the
/// others, and the loader's cache must not outlive the request.
pub struct UserLoader {
    by_uuid: Loader<UserUuid, Loaded, Batch>,
    by_handle: Loader<String, Loaded, Batch>,
}

struct Batch(Users);

impl BatchFn<UserUuid, Loaded> for Batch {
    async fn load(&mut self, keys: &[UserUuid]) -> HashMap<UserUuid, Loaded> {
        loaded(keys, self.0.by_uuids(keys).await)
    }
}

impl BatchFn<String, Loaded> for Batch {
    async fn load(&mut self, keys: &[String]) -> HashMap<String, Loaded> {
        loaded(keys, self.0.by_handles(keys).await)
    }
}

/// Returns a value for every key, because the crate treats a missing one as an error of the batch.
fn loaded<K: Clone + Eq + Hash>(keys: &[K], found: Result<HashMap<K, Arc<User>>, UsersError>) -> HashMap<K, Loaded> {
    match found {
        Ok(mut found) => keys.iter().map(|key| (key.clone(), Ok(found.remove(key)))).collect(),
        Err(error) => {
            let error = Arc::new(error);
            keys.iter().map(|key| (key.clone(), Err(error.clone()))).collect()
        }
    }
}

impl UserLoader {
    /// A loader for one request.
    pub fn new(users: Users) -> Self {
        Self {
            by_uuid: Loader::new(Batch(users.clone())).with_max_batch_size(usize::MAX),
            by_handle: Loader::new(Batch(users)).with_max_batch_size(usize::MAX),
        }
    }

    /// The user, or `None` if they do not exist any more.
    pub async fn load(&self, uuid: UserUuid) -> Loaded {
        load(&self.by_uuid, uuid).await
    }

    /// The user with exactly this handle.
    pub async fn by_handle(&self, handle: String) -> Loaded {
        load(&self.by_handle, handle).await
    }
}

async fn load<K: Clone + Eq + Hash + std::fmt::Debug>(loader: &Loader<K, Loaded, Batch>, key: K) -> Loaded
where
    Batch: BatchFn<K, Loaded>,
{
    // Without tokio's cooperative budget: after 128 loads in one poll it would delay the others beyond the window in which
    // the crate collects a batch.
    match tokio::task::unconstrained(loader.try_load(key)).await {
        Ok(loaded) => loaded,
        Err(error) => Err(Arc::new(UsersError::Unavailable(sqlx::Error::Io(error)))),
    }
}
