//! Users, as Postgres has them. The SQL stands in `sql/`.

pub mod cache;
mod error;
pub mod loader;

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use uuid::Uuid;

use self::cache::TtlCache;
pub use self::error::UsersError;
use crate::model::{User, UserUuid};

/// The migrations of `sql/migrations`, in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!("sql/migrations");

/// How many users each of the two caches holds; some 200 bytes a user.
const CACHED_USERS: usize = 50_000;

/// The users table, with the rows seen in the last seconds. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pool: PgPool,
    by_uuid: Arc<TtlCache<UserUuid, Arc<User>>>,
    by_cognito_user_id: Arc<TtlCache<String, Arc<User>>>,
}

impl Users {
    /// Users read through `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            by_uuid: Arc::new(TtlCache::new(CACHED_USERS)),
            by_cognito_user_id: Arc::new(TtlCache::new(CACHED_USERS)),
        }
    }

    /// The connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Brings the schema up to date.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        MIGRATIONS.run(&self.pool).await
    }

    /// Whether Postgres answers.
    pub async fn ping(&self) -> Result<(), UsersError> {
        sqlx::query_file_scalar!("sql/ping.sql").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// The user with exactly this handle, as of now: whoever has just signed up can be written to.
    pub async fn by_handle(&self, handle: &str) -> Result<Option<Arc<User>>, UsersError> {
        // Postgres text cannot hold NUL, so no user has such a handle.
        if handle.contains('\0') {
            return Ok(None);
        }
        let row = sqlx::query_file_as!(UserRow, "sql/user_by_handle.sql", handle).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| Arc::new(row.into())))
    }

    /// The user whose tokens have this `sub`; none when two users have it.
    pub async fn by_cognito_user_id(&self, id: &str) -> Result<Option<Arc<User>>, UsersError> {
        if id.contains('\0') {
            return Ok(None);
        }
        if let Some(user) = self.by_cognito_user_id.get(id) {
            return Ok(Some(user));
        }
        let asked = self.by_cognito_user_id.now();
        let mut rows =
            sqlx::query_file_as!(UserRow, "sql/user_by_cognito_user_id.sql", id).fetch_all(&self.pool).await?;
        let (Some(row), None) = (rows.pop(), rows.pop()) else { return Ok(None) };
        let user = Arc::new(User::from(row));
        self.by_cognito_user_id.insert(id.to_owned(), user.clone(), asked);
        Ok(Some(user))
    }

    /// Those of `uuids` that there are, with one SELECT at most.
    pub async fn by_uuids(&self, uuids: &[UserUuid]) -> Result<HashMap<UserUuid, Arc<User>>, UsersError> {
        let mut found = HashMap::with_capacity(uuids.len());
        let mut wanted = Vec::new();
        for uuid in uuids {
            match self.by_uuid.get(uuid) {
                Some(user) => drop(found.insert(*uuid, user)),
                None => wanted.push(uuid.0),
            }
        }
        if !wanted.is_empty() {
            let asked = self.by_uuid.now();
            let rows = sqlx::query_file_as!(UserRow, "sql/users_by_uuid.sql", &wanted).fetch_all(&self.pool).await?;
            for user in rows.into_iter().map(|row| Arc::new(User::from(row))) {
                self.by_uuid.insert(user.uuid, user.clone(), asked);
                found.insert(user.uuid, user);
            }
        }
        Ok(found)
    }

    /// The `cognito_user_id` of a handle: what a token of that user has as its `sub`.
    pub async fn cognito_user_id(&self, handle: &str) -> Result<Option<String>, UsersError> {
        let id = sqlx::query_file_scalar!("sql/cognito_user_id_by_handle.sql", handle).fetch_optional(&self.pool);
        Ok(id.await?.flatten())
    }

    /// Handle and `cognito_user_id` of those of `uuids` that have both.
    pub async fn token_subjects(&self, uuids: &[UserUuid]) -> Result<Vec<(String, String)>, UsersError> {
        let uuids: Vec<Uuid> = uuids.iter().map(|uuid| uuid.0).collect();
        let rows = sqlx::query_file!("sql/token_subjects.sql", &uuids).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.handle, row.cognito_user_id)).collect())
    }

    /// Adds a user unless the handle or the uuid is taken. Returns whether it was added.
    pub async fn seed(&self, user: &User, email: &str, cognito_user_id: &str) -> Result<bool, UsersError> {
        let done =
            sqlx::query_file!("sql/seed_user.sql", user.uuid.0, user.display_name, user.handle, email, cognito_user_id)
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A row of any of the SELECTs.
struct UserRow {
    uuid: Uuid,
    handle: String,
    display_name: String,
}

impl From<UserRow> for User {
    fn from(UserRow { uuid, handle, display_name }: UserRow) -> Self {
        Self { uuid: UserUuid(uuid), handle, display_name }
    }
}
