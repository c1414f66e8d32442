//! Starts the server and its engines for a test.

pub mod client;
pub mod connections;
pub mod event_stream;
pub mod fault_proxy;
pub mod legacy;
pub mod live;
pub mod postgres_relay;
pub mod process;
pub mod recorder;
pub mod websocket;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cruddur_messaging::app::{ApiParts, RequestParts, consume, fresh_name, serve};
use cruddur_messaging::aws::Aws;
use cruddur_messaging::config::{HttpLimits, TokenIssuer};
use cruddur_messaging::embedded::dynamodb::EmbeddedDynamoDb;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::live::Live;
use cruddur_messaging::messages_table::MessagesTable;
use cruddur_messaging::messages_table::schema::{Billing, load_leases_table, load_messages_table};
use cruddur_messaging::model::{Participant, User, UserUuid};
use cruddur_messaging::shutdown::Shutdown;
use cruddur_messaging::stream::appender::FEED_RETENTION;
use cruddur_messaging::users::Users;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::client::Client;
pub use self::fault_proxy::FaultProxy;
use self::recorder::{API, WORKER};

/// One runtime for all tests, because they share engines.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
});

/// Only detects a hang: no test depends on a duration.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a test.
pub fn test(body: impl Future<Output = ()>) {
    RUNTIME.block_on(async { tokio::time::timeout(DEADLINE * 10, body).await.expect("the test hangs") });
}

/// Waits until `check` returns a value.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl FnMut() -> F) -> T {
    eventually_within(DEADLINE, what, check).await
}

/// The same with a longer deadline.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begin.elapsed() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What all tests share: one PostgreSQL, because its start takes time, and one token key.
pub struct Shared {
    pub users: Users,
    pub issuer: LocalIssuer,
    pub token_issuer: TokenIssuer,
    _postgres: Option<EmbeddedPostgres>,
}

pub async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            // A native PostgreSQL if `TEST_DATABASE_URL` is set, otherwise the embedded one.
            let (postgres, pool) = match std::env::var("TEST_DATABASE_URL") {
                Ok(url) => (None, cruddur_messaging::app::pool(&url, 5, None).expect("TEST_DATABASE_URL")),
                Err(_) => {
                    let postgres = embedded_postgres().await;
                    let pool = postgres.pool().expect("a pool");
                    (Some(postgres), pool)
                }
            };
            let users = Users::new(pool);
            users.migrate().await.expect("migrations");
            let issuer = LocalIssuer::generate().expect("a key");
            let token_issuer = issuer.serve(CancellationToken::new()).await.expect("an issuer");
            Shared { users, issuer, token_issuer, _postgres: postgres }
        })
        .await
}

pub async fn embedded_postgres() -> EmbeddedPostgres {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    EmbeddedPostgres::start(None, listener).await.expect("an embedded PostgreSQL")
}

pub async fn embedded_dynamodb() -> EmbeddedDynamoDb {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    EmbeddedDynamoDb::start(None, listener).expect("an embedded DynamoDB")
}

pub const TABLE: &str = "cruddur-messages";

/// Tables of its own behind a proxy that can lose responses, for any number of servers.
pub struct World {
    /// The clients of the test itself.
    pub aws: Aws,
    api_aws: Aws,
    worker_aws: Aws,
    pub table: MessagesTable,
    pub proxy: FaultProxy,
    pub dynamodb: EmbeddedDynamoDb,
    /// Connects its servers and consumers.
    pub live: Arc<Live>,
}

impl World {
    pub async fn new() -> Self {
        let dynamodb = embedded_dynamodb().await;
        let proxy = FaultProxy::start(dynamodb.url()).await;
        let aws = Aws::local(proxy.url()).await;
        let (api_aws, worker_aws) = (Aws::local(&proxy.url_of(API)).await, Aws::local(&proxy.url_of(WORKER)).await);
        load_messages_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await.expect("the messages table");
        load_leases_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await.expect("the leases table");
        let table = MessagesTable::new(aws.dynamodb.clone(), TABLE);
        Self { aws, api_aws, worker_aws, table, proxy, dynamodb, live: Live::in_process() }
    }

    /// The URL of the engine behind the proxy.
    pub fn engine_url(&self) -> &str {
        self.dynamodb.url()
    }

    /// A server that shares no state with other servers, as if it had a process of its own.
    pub async fn server(&self) -> Server {
        let shared = shared().await;
        // The pool is shared, because the embedded PostgreSQL has only one connection. The caches are not.
        self.server_with(Users::new(shared.users.pool().clone()), shared.token_issuer.clone()).await
    }

    pub async fn server_with(&self, users: Users, issuer: TokenIssuer) -> Server {
        self.changed_server(users, issuer, |_| {}).await
    }

    /// A server with changed settings.
    pub async fn server_where(&self, change: impl FnOnce(&mut ApiParts)) -> Server {
        let shared = shared().await;
        self.changed_server(Users::new(shared.users.pool().clone()), shared.token_issuer.clone(), change).await
    }

    async fn changed_server(&self, users: Users, issuer: TokenIssuer, change: impl FnOnce(&mut ApiParts)) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::default();
        let http = HttpLimits { messages_per_minute: 0, ..HttpLimits::default() };
        let mut parts = ApiParts {
            aws: self.api_aws.clone(),
            table: TABLE.to_owned(),
            users,
            issuer,
            requests: RequestParts { http, ..RequestParts::default() },
            introspection: true,
            feed_retention: Some(FEED_RETENTION),
            live: self.live.clone(),
            consumer: None,
            registrar: None,
            web_client: None,
            graphiql_token: None,
            sign_in: None,
        };
        change(&mut parts);
        serve(parts, listener, &shutdown).await.expect("a server");
        Server { address, shutdown }
    }

    /// A stream consumer. It ends with the returned shutdown.
    pub fn consumer(&self) -> Shutdown {
        let shutdown = Shutdown::default();
        consume(&self.worker_aws, TABLE, Some(FEED_RETENTION), fresh_name(), self.live.clone(), &shutdown);
        shutdown
    }
}

/// A server, a consumer, and two users with their clients.
pub struct Pair {
    pub server: Server,
    pub ana: TestUser,
    pub ben: TestUser,
    pub of_ana: Client,
    pub of_ben: Client,
    _consumer: Shutdown,
    _world: World,
}

impl Pair {
    pub async fn new() -> Self {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let (of_ana, of_ben) = (server.client(&ana), server.client(&ben));
        Self { server, ana, ben, of_ana, of_ben, _consumer: world.consumer(), _world: world }
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
}

impl Server {
    /// A client signed in as `user`.
    pub fn client(&self, user: &TestUser) -> Client {
        Client::new(self.address, Some(user.token.clone()))
    }

    /// A client that is not signed in.
    pub fn anonymous(&self) -> Client {
        Client::new(self.address, None)
    }
}

/// A user in PostgreSQL with a token.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub user: User,
    pub cognito_user_id: String,
    pub token: String,
}

impl TestUser {
    pub fn handle(&self) -> &str {
        &self.user.handle
    }

    pub fn uuid(&self) -> UserUuid {
        self.user.uuid
    }

    pub fn participant(&self) -> Participant {
        Participant::from(&self.user)
    }
}

/// Adds a user whose handle begins with `name`.
pub async fn user(name: &str) -> TestUser {
    user_in(&shared().await.users, name).await
}

pub async fn user_in(users: &Users, name: &str) -> TestUser {
    let uuid = Uuid::new_v4();
    let user = User {
        uuid: UserUuid(uuid),
        handle: format!("{name}-{}", uuid.simple()),
        display_name: format!("{name} the tester"),
    };
    let cognito_user_id = Uuid::new_v4().to_string();
    assert!(users.seed(&user, "tester@example.com", &cognito_user_id).await.expect("a user"));
    let token = shared().await.issuer.token(&cognito_user_id).expect("a token");
    TestUser { user, cognito_user_id, token }
}
