//! Users in Postgres. The SQL is in `sql/`.

pub mod cache;
pub mod cognito_ids;
pub mod connection;
mod error;
pub mod loader;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection as _, PgPool};
use tracing::{Instrument, Span};
use uuid::Uuid;

use self::cache::TtlCache;
use self::cognito_ids::{IdPlan, KnownUser, Matching, plan};
use self::connection::{Connection, until};
pub use self::error::{UsersError, is_undefined_table};
use crate::cognito::CognitoUser;
use crate::config::DatabaseSettings;
use crate::environment::{Environment, SystemEnvironment};
use crate::model::{User, UserUuid};

/// The migrations in `sql/migrations`, embedded in the binary. Their table has a schema, so that it does not depend on the
/// `search_path` of a role.
pub static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("sql/migrations");
    migrations.dangerous_set_table_name("public._sqlx_migrations");
    migrations
});

/// Maximum time that a migration, or the update of Cognito ids, waits for a lock. Meanwhile, other writes to the table are
/// blocked.
const LOCK_TIMEOUT: &str = "5s";

/// Time limit for closing the connections.
const CLOSING: Duration = Duration::from_millis(500);
/// Maximum length of a handle in bytes. An entry of the index can have 2,704.
const MAX_HANDLE_BYTES: usize = 2_048;
/// Maximum number of users in each of the two caches. A user takes about 200 bytes.
const CACHED_USERS: usize = 50_000;

/// The users table, with a cache of a few seconds. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pool: PgPool,
    query_timeout: Duration,
    by_uuid: Arc<TtlCache<UserUuid, Arc<User>>>,
    by_cognito_user_id: Arc<TtlCache<String, Arc<User>>>,
}

impl Users {
    /// Users of the database of `pool`, with the clock of the system.
    pub fn new(pool: PgPool) -> Self {
        Self::with_environment(pool, Arc::new(SystemEnvironment))
    }

    /// Users of the database of `pool`. The clock of `environment` decides when cached rows expire.
    pub fn with_environment(pool: PgPool, environment: Arc<dyn Environment>) -> Self {
        Self {
            pool,
            query_timeout: DatabaseSettings::QUERY_TIMEOUT,
            by_uuid: Arc::new(TtlCache::new("users_by_uuid", CACHED_USERS, environment.clone())),
            by_cognito_user_id: Arc::new(TtlCache::new("users_by_token", CACHED_USERS, environment)),
        }
    }

    /// Changes the time after which a query without a response is given up.
    pub fn with_query_timeout(self, query_timeout: Duration) -> Self {
        Self { query_timeout, ..self }
    }

    /// The connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for one query. Soon after it is dropped, the connection returns to the pool or is closed, even if
    /// the server does not respond.
    pub async fn connection(&self) -> Result<Connection, UsersError> {
        Connection::acquire(&self.pool, self.query_timeout).await
    }

    /// Migrates the database.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query_file!("sql/set_lock_timeout.sql", LOCK_TIMEOUT, false).fetch_one(&mut *connection).await?;
        let migrated = MIGRATIONS.run(&mut *connection).await;
        sqlx::query_file!("sql/set_lock_timeout.sql", "0", false).fetch_one(&mut *connection).await?;
        migrated
    }

    /// Whether the database prevents two users from having the same handle. The migration skips an existing index of the same
    /// name, even an invalid one that a failed `CREATE INDEX CONCURRENTLY` has left.
    pub async fn handles_are_unique(&self) -> Result<bool, UsersError> {
        let mut connection = self.connection().await?;
        let query = sqlx::query_file_scalar!("sql/handles_are_unique.sql");
        until(connection.limit(), query.fetch_one(&mut *connection)).await
    }

    /// Checks that Postgres responds.
    pub async fn ping(&self) -> Result<(), UsersError> {
        let mut connection = self.connection().await?;
        until(connection.limit(), sqlx::query_file_scalar!("sql/ping.sql").fetch_one(&mut *connection)).await?;
        Ok(())
    }

    /// The user with exactly this handle. Not cached, so a new user can receive messages at once.
    pub async fn by_handle(&self, handle: &str) -> Result<Option<Arc<User>>, UsersError> {
        let mut found = self.by_handles(&[handle.to_owned()]).await?;
        Ok(found.remove(handle))
    }

    /// The users with exactly these handles, with at most one SELECT. Not cached.
    pub async fn by_handles(&self, handles: &[String]) -> Result<HashMap<String, Arc<User>>, UsersError> {
        // A text in Postgres cannot contain NUL, and the index limits its length, so no user has such a handle.
        let is_possible = |handle: &&String| !handle.contains('\0') && handle.len() <= MAX_HANDLE_BYTES;
        let possible: Vec<String> = handles.iter().filter(is_possible).cloned().collect();
        if possible.is_empty() {
            return Ok(HashMap::new());
        }
        let asked = self.by_uuid.now();
        let query = async {
            let mut connection = self.connection().await?;
            let query = sqlx::query_file_as!(UserRow, "sql/users_by_handle.sql", &possible);
            until(connection.limit(), query.fetch_all(&mut *connection)).await
        };
        let rows = Box::pin(query.instrument(span("users_by_handle"))).await?;
        Ok(rows.into_iter().map(|row| (row.handle.clone(), self.remember(row, asked))).collect())
    }

    /// Caches a user that was requested at `asked`.
    fn remember(&self, row: UserRow, asked: Instant) -> Arc<User> {
        let user = Arc::new(User::from(row));
        self.by_uuid.insert(user.uuid, user.clone(), asked);
        user
    }

    /// The user whose tokens have this `sub`. `None` also if two users have it.
    pub async fn by_cognito_user_id(&self, id: &str) -> Result<Option<Arc<User>>, UsersError> {
        if id.contains('\0') {
            return Ok(None);
        }
        if let Some(user) = self.by_cognito_user_id.get(id) {
            return Ok(Some(user));
        }
        let asked = self.by_cognito_user_id.now();
        let query = async {
            let mut connection = self.connection().await?;
            let query = sqlx::query_file_as!(UserRow, "sql/user_by_cognito_user_id.sql", id);
            until(connection.limit(), query.fetch_all(&mut *connection)).await
        };
        // Boxed, because the future is large and rarely needed: it would enlarge each future that contains it.
        let mut rows = Box::pin(query.instrument(span("user_by_cognito_user_id"))).await?;
        let (Some(row), None) = (rows.pop(), rows.pop()) else { return Ok(None) };
        let user = self.remember(row, asked);
        self.by_cognito_user_id.insert(id.to_owned(), user.clone(), asked);
        Ok(Some(user))
    }

    /// The user, if they are in the cache.
    pub fn cached(&self, uuid: UserUuid) -> Option<Arc<User>> {
        self.by_uuid.peek(&uuid)
    }

    /// The users with these uuids, with at most one SELECT.
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
            let query = async {
                let mut connection = self.connection().await?;
                let query = sqlx::query_file_as!(UserRow, "sql/users_by_uuid.sql", &wanted);
                until(connection.limit(), query.fetch_all(&mut *connection)).await
            };
            let rows = Box::pin(query.instrument(span("users_by_uuid"))).await?;
            found.extend(rows.into_iter().map(|row| self.remember(row, asked)).map(|user| (user.uuid, user)));
        }
        Ok(found)
    }

    /// The `cognito_user_id` of a handle, which is the `sub` of the user's tokens.
    pub async fn cognito_user_id(&self, handle: &str) -> Result<Option<String>, UsersError> {
        let mut connection = self.connection().await?;
        let query = sqlx::query_file_scalar!("sql/cognito_user_id_by_handle.sql", handle);
        Ok(until(connection.limit(), query.fetch_optional(&mut *connection)).await?.flatten())
    }

    /// Handle and `cognito_user_id` of the users with these uuids, if they have both.
    pub async fn token_subjects(&self, uuids: &[UserUuid]) -> Result<Vec<(String, String)>, UsersError> {
        let uuids: Vec<Uuid> = uuids.iter().map(|uuid| uuid.0).collect();
        let mut connection = self.connection().await?;
        let query = sqlx::query_file!("sql/token_subjects.sql", &uuids);
        let rows = until(connection.limit(), query.fetch_all(&mut *connection)).await?;
        Ok(rows.into_iter().map(|row| (row.handle, row.cognito_user_id)).collect())
    }

    /// Adds a user unless the handle or the uuid is taken. Returns whether it was added.
    pub async fn seed(&self, user: &User, email: &str, cognito_user_id: &str) -> Result<bool, UsersError> {
        let mut connection = self.connection().await?;
        let query =
            sqlx::query_file!("sql/seed_user.sql", user.uuid.0, user.display_name, user.handle, email, cognito_user_id);
        let done = until(connection.limit(), query.execute(&mut *connection)).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds a user, once, however many processes do it at the same time. Changes no user that exists.
    pub async fn register(&self, user: &NewUser) -> Result<Registered, UsersError> {
        let NewUser { display_name, handle, email, cognito_user_id } = user;
        let mut connection = self.connection().await?;
        let limit = connection.limit();
        let register = async {
            let mut transaction = connection.begin().await?;
            sqlx::query_file!("sql/lock_registration.sql", cognito_user_id).fetch_one(&mut *transaction).await?;
            let add =
                sqlx::query_file!("sql/register_user.sql", display_name, handle, email.as_deref(), cognito_user_id);
            let is_added = add.execute(&mut *transaction).await?.rows_affected() == 1;
            let taken = sqlx::query_file!("sql/taken_by_users.sql", cognito_user_id, handle);
            let taken = taken.fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(match (is_added, taken.cognito_user_id, taken.handle) {
                (true, ..) => Registered::Added,
                (false, true, _) => Registered::Existed,
                (false, false, true) => Registered::HandleTaken,
                (false, false, false) => Registered::OtherValueTaken,
            })
        };
        until(limit, register).await
    }

    /// The changes that [`Users::update_cognito_user_ids`] would make. Locks no rows.
    pub async fn plan_cognito_user_ids(
        &self,
        matching: Matching,
        in_cognito: &[CognitoUser],
        replace: &BTreeSet<String>,
    ) -> Result<IdPlan, UsersError> {
        let known = sqlx::query_file_as!(KnownUser, "sql/users_for_cognito.sql").fetch_all(&self.pool).await?;
        Ok(plan(matching, in_cognito, &known, replace))
    }

    /// Sets the Cognito ids as [`cognito_ids::plan`] decides, in one transaction. If a handle of `replace` cannot be replaced,
    /// it changes nothing: that is a mistake of the operator.
    pub async fn update_cognito_user_ids(
        &self,
        matching: Matching,
        in_cognito: &[CognitoUser],
        replace: &BTreeSet<String>,
    ) -> Result<IdPlan, UsersError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query_file!("sql/set_lock_timeout.sql", LOCK_TIMEOUT, true).fetch_one(&mut *transaction).await?;
        sqlx::query_file!("sql/lock_users.sql").execute(&mut *transaction).await?;
        let query = sqlx::query_file_as!(KnownUser, "sql/users_for_cognito.sql");
        let known = query.fetch_all(&mut *transaction).await?;
        let plan = plan(matching, in_cognito, &known, replace);
        if !plan.not_replaced.is_empty() {
            transaction.rollback().await?;
            return Ok(plan);
        }
        let (uuids, ids): (Vec<Uuid>, Vec<String>) =
            plan.updated.iter().map(|update| (update.uuid, update.candidate.user.sub.clone())).unzip();
        sqlx::query_file!("sql/set_cognito_user_ids.sql", &uuids, &ids).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(plan)
    }

    /// Closes the connections. Does not wait for a query that hangs.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(CLOSING, self.pool.close()).await;
    }
}

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Name to show in a user interface.
    pub display_name: String,
    /// The handle.
    pub handle: String,
    /// The verified e-mail address, if there is one.
    pub email: Option<String>,
    /// The claim `sub` of the user's tokens.
    pub cognito_user_id: String,
}

/// The result of adding a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The user was added.
    Added,
    /// The user existed.
    Existed,
    /// Another user has the handle. Nothing was written.
    HandleTaken,
    /// Another user has the value of another unique column, which is not one of this program. Nothing was written.
    OtherValueTaken,
}

/// The span of a query, for the traces.
fn span(query: &'static str) -> Span {
    tracing::trace_span!("PostgreSQL", otel.name = query, otel.kind = "client", db.system.name = "postgresql")
}

/// A row of the SELECTs.
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
