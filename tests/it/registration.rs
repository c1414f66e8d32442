//! `REGISTER_USERS`: the first request of a user of the user pool adds the user, once, with the profile of the user pool.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use cruddur_messaging::environment::SystemEnvironment;
use cruddur_messaging::registration::Registrar;
use cruddur_messaging::users::Users;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::harness::client::code_and_reason;
use crate::harness::websocket::Socket;
use crate::harness::{Client, Server, World, shared, test, user};

/// A user pool with the profiles of its users, by their access tokens.
#[derive(Clone, Default)]
struct Pool {
    profiles: Arc<Mutex<HashMap<String, Value>>>,
    calls: Arc<AtomicUsize>,
    url: String,
}

impl Pool {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let pool = Self { url: url.clone(), ..Self::default() };
        let discovery = json!({ "userinfo_endpoint": format!("{url}/oauth2/userInfo") });
        let user_info = async |State(pool): State<Self>, headers: HeaderMap| {
            pool.calls.fetch_add(1, Ordering::SeqCst);
            let token = headers["authorization"].to_str().expect("text").trim_start_matches("Bearer ").to_owned();
            let profile = pool.profiles.lock().expect("profiles").get(&token).cloned();
            profile.map(Json).ok_or(StatusCode::UNAUTHORIZED)
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route("/oauth2/userInfo", get(user_info))
            .with_state(pool.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        pool
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// A new user of the pool: the `sub` and an access token.
    async fn user(&self, profile: Value) -> (String, String) {
        let sub = Uuid::new_v4().to_string();
        let token = shared().await.issuer.token(&sub).expect("a token");
        let mut profile = profile;
        if profile.get("sub").is_none() {
            profile["sub"] = json!(sub);
        }
        self.profiles.lock().expect("profiles").insert(token.clone(), profile);
        (sub, token)
    }

    async fn server(&self, world: &World) -> Server {
        let users = Users::new(shared().await.users.pool().clone());
        let registrar = Registrar::new(&self.url, None, users, Arc::new(SystemEnvironment)).expect("a client");
        world.server_where(|parts| parts.registrar = Some(registrar)).await
    }
}

const ME: &str = "{ me { uuid handle displayName } }";

/// The e-mail addresses of the users with this `sub`.
async fn emails(sub: &str) -> Vec<Option<String>> {
    let rows = sqlx::query_scalar("SELECT email FROM public.users WHERE cognito_user_id = $1").bind(sub);
    rows.fetch_all(shared().await.users.pool()).await.expect("rows")
}

/// Status, code and reason of a request with this token.
async fn refusal(server: &Server, token: &str) -> (u16, String, Option<String>) {
    let client = Client::new(server.address, Some(token.to_owned()));
    let response = client.post().json(&json!({ "query": ME })).send().await.expect("a response");
    let status = response.status().as_u16();
    let (code, reason) = code_and_reason(&response.json().await.expect("JSON"));
    (status, code, reason)
}

fn handle() -> String {
    format!("new-{}", Uuid::new_v4().simple())
}

#[test]
fn a_new_user_is_added_once_however_many_requests_come_at_the_same_time() {
    test(async {
        let (world, pool) = (World::new().await, Pool::start().await);
        let servers = [pool.server(&world).await, pool.server(&world).await];
        let handle = handle();
        let profile = json!({
            "preferred_username": format!(" {handle} "), "name": "New User", "email": "new@example.com", "email_verified": "true",
        });
        let (sub, token) = pool.user(profile).await;
        let request = |number: usize| {
            let client = Client::new(servers[number % 2].address, Some(token.clone()));
            async move { client.data(ME, json!({})).await["me"].clone() }
        };
        let answers = join_all((0..20).map(request)).await;
        assert_eq!((&answers[0]["handle"], &answers[0]["displayName"]), (&json!(handle), &json!("New User")));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(emails(&sub).await, [Some("new@example.com".to_owned())]);
        assert!(pool.calls() <= servers.len(), "one call for each server, not {}", pool.calls());
        // The user can use a WebSocket at once too.
        let (_, token) = pool.user(json!({ "preferred_username": self::handle() })).await;
        Socket::acknowledged(servers[0].address, &token).await;
    });
}

#[test]
fn a_handle_that_is_missing_or_taken_writes_nothing() {
    test(async {
        let (world, pool) = (World::new().await, Pool::start().await);
        let server = pool.server(&world).await;
        let existing = user("existing").await;
        let long = "x".repeat(300);
        for (profile, reason) in [
            (json!({ "preferred_username": existing.handle() }), "handle_taken"),
            (json!({}), "handle_missing"),
            (json!({ "preferred_username": "  " }), "handle_missing"),
            (json!({ "preferred_username": "a\u{0}b" }), "handle_missing"),
            (json!({ "preferred_username": long }), "handle_missing"),
        ] {
            let (sub, token) = pool.user(profile.clone()).await;
            let expected = (401, "UNAUTHENTICATED".to_owned(), Some(reason.to_owned()));
            assert_eq!(refusal(&server, &token).await, expected, "{profile}");
            let calls = pool.calls();
            assert_eq!(refusal(&server, &token).await, expected, "{profile}");
            assert_eq!(pool.calls(), calls, "a refusal is remembered for a moment");
            assert_eq!(emails(&sub).await, [] as [Option<String>; 0]);
            let error = Socket::open(server.address).await.try_init(&token).await.expect_err("a close code");
            assert_eq!(error, (4403, format!("Forbidden: {reason}")));
        }
        let me = server.client(&existing).data(ME, json!({})).await["me"].clone();
        assert_eq!(me["uuid"], existing.uuid().to_string(), "the user with the handle is unchanged");
    });
}

#[test]
fn only_a_verified_address_and_only_the_own_profile_are_used() {
    test(async {
        let (world, pool) = (World::new().await, Pool::start().await);
        let server = pool.server(&world).await;
        for verified in [json!("false"), json!(false), Value::Null] {
            let profile =
                json!({ "preferred_username": handle(), "email": "not@verified.example", "email_verified": verified });
            let (sub, token) = pool.user(profile).await;
            let client = Client::new(server.address, Some(token));
            let me = client.data(ME, json!({})).await["me"].clone();
            assert_eq!(me["displayName"], me["handle"], "without a name, the handle is shown");
            assert_eq!(emails(&sub).await, [None]);
        }
        let (sub, token) = pool.user(json!({ "sub": "another", "preferred_username": handle() })).await;
        let unavailable = (503, "UNAVAILABLE".to_owned(), Some("registration_unavailable".to_owned()));
        assert_eq!(refusal(&server, &token).await, unavailable);
        assert_eq!(emails(&sub).await, [] as [Option<String>; 0]);
        // A token without the scope.
        let token = shared().await.issuer.token(&Uuid::new_v4().to_string()).expect("a token");
        let refused = (401, "UNAUTHENTICATED".to_owned(), Some("profile_refused".to_owned()));
        assert_eq!(refusal(&server, &token).await, refused);
    });
}

#[test]
fn users_that_exist_do_not_need_the_user_pool() {
    test(async {
        let world = World::new().await;
        let pool = Pool { url: "http://127.0.0.1:1".to_owned(), ..Pool::default() };
        let server = pool.server(&world).await;
        let ana = user("ana").await;
        assert_eq!(server.client(&ana).data(ME, json!({})).await["me"]["handle"], ana.handle());
        let (_, token) = pool.user(json!({ "preferred_username": handle() })).await;
        assert_eq!(refusal(&server, &token).await.2.as_deref(), Some("registration_unavailable"));
        // Without the setting, the pool is not asked.
        let plain = world.server().await;
        let (code, reason) = Client::new(plain.address, Some(token)).error(ME, json!({})).await;
        assert_eq!((code.as_str(), reason.as_deref()), ("UNAUTHENTICATED", Some("user_unknown")));
    });
}
