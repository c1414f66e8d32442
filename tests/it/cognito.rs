//! Tests with a local Cognito server that signs real tokens. `scripts/with-cognito` starts it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_sdk_cognitoidentityprovider::Client as Cognito;
use aws_sdk_cognitoidentityprovider::types::{AttributeType, AuthFlowType, ExplicitAuthFlowsType};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use chrono::{TimeDelta, Utc};
use cruddur_messaging::aws::Aws;
use cruddur_messaging::config::TokenIssuer;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::model::{User, UserUuid};
use cruddur_messaging::users::Users;
use cruddur_messaging::users::cognito_ids::Matching;
use jsonwebtoken::{Algorithm, EncodingKey, Header, decode_header, encode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::authentication::{ME, refused};
use crate::harness::process::{command, run};
use crate::harness::{Client, World, embedded_postgres, test};

const REGION: &str = "us-east-1";
const PASSWORD: &str = "Correct-horse-7";

/// A user pool with one app client.
struct Pool {
    cognito: Cognito,
    url: String,
    id: String,
    client_id: String,
}

impl Pool {
    async fn new() -> Self {
        let url = std::env::var("COGNITO_TEST_URL").expect("COGNITO_TEST_URL, as scripts/with-cognito sets it");
        let cognito = Aws::local(&url).await.cognito(REGION);
        let pool = cognito.create_user_pool().pool_name("cruddur").send().await.expect("a pool").user_pool;
        let id = pool.and_then(|it| it.id).expect("an id");
        let mut pool = Self { cognito, url, id, client_id: String::new() };
        pool.client_id = pool.new_client().await;
        pool
    }

    async fn new_client(&self) -> String {
        let client = self.cognito.create_user_pool_client().user_pool_id(&self.id).client_name("app");
        let client = client.explicit_auth_flows(ExplicitAuthFlowsType::AllowUserPasswordAuth).send().await;
        client.expect("a client").user_pool_client.and_then(|it| it.client_id).expect("an id")
    }

    /// Adds a confirmed user whose verified e-mail address is `NAME@example.com`. Returns the `sub`.
    async fn add(&self, username: &str, name: &str) -> String {
        let email = format!("{name}@example.com");
        self.add_with(username, &[("preferred_username", name), ("email", &email), ("email_verified", "true")]).await
    }

    /// Adds a confirmed user. Returns the `sub`.
    async fn add_with(&self, username: &str, attributes: &[(&str, &str)]) -> String {
        let request = self.cognito.admin_create_user().user_pool_id(&self.id).username(username);
        let request = request.set_user_attributes(Some(attributes.iter().map(attribute).collect()));
        let user = request.send().await.expect("a user").user.expect("a user");
        let password = self.cognito.admin_set_user_password().user_pool_id(&self.id).username(username);
        password.password(PASSWORD).permanent(true).send().await.expect("a password");
        let sub = user.attributes().iter().find(|it| it.name() == "sub").and_then(|it| it.value());
        sub.expect("a sub").to_owned()
    }

    /// Signs up, as anybody can. The user is not confirmed then. Returns the `sub`.
    async fn sign_up(&self, username: &str, attributes: &[(&str, &str)]) -> String {
        let request = self.cognito.sign_up().client_id(&self.client_id).username(username).password(PASSWORD);
        let request = request.set_user_attributes(Some(attributes.iter().map(attribute).collect()));
        request.send().await.expect("a user").user_sub
    }

    /// Signs in. Returns the access token and the ID token.
    async fn sign_in(&self, client_id: &str, username: &str) -> (String, String) {
        let request = self.cognito.initiate_auth().auth_flow(AuthFlowType::UserPasswordAuth).client_id(client_id);
        let request = request.auth_parameters("USERNAME", username).auth_parameters("PASSWORD", PASSWORD);
        let tokens = request.send().await.expect("tokens").authentication_result.expect("tokens");
        (tokens.access_token.expect("an access token"), tokens.id_token.expect("an ID token"))
    }

    fn token_issuer(&self, jwks_url: &str) -> TokenIssuer {
        TokenIssuer {
            issuer: format!("https://cognito-idp.{REGION}.amazonaws.com/{}", self.id),
            client_id: self.client_id.clone(),
            jwks_url: jwks_url.to_owned(),
            key_grace: TokenIssuer::KEY_GRACE,
        }
    }

    fn jwks_url(&self) -> String {
        format!("{}/{}/.well-known/jwks.json", self.url, self.id)
    }
}

fn attribute((name, value): &(&str, &str)) -> AttributeType {
    AttributeType::builder().name(*name).value(*value).build().expect("an attribute")
}

/// Adds a user to PostgreSQL whose e-mail address is `HANDLE@example.com`.
async fn known(users: &Users, handle: &str, cognito_user_id: &str) {
    let user = User { uuid: UserUuid(Uuid::new_v4()), handle: handle.to_owned(), display_name: handle.to_owned() };
    assert!(users.seed(&user, &format!("{handle}@example.com"), cognito_user_id).await.expect("a user"));
}

/// Runs `db update-cognito-user-ids`. Returns the exit status, standard output and standard error.
fn sync(pool: &Pool, postgres: &EmbeddedPostgres, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = command();
    command.args(["db", "update-cognito-user-ids"]).args(arguments);
    command.env("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", &pool.url);
    command.env("AWS_COGNITO_USER_POOL_ID", &pool.id).env("DATABASE_URL", postgres.url());
    let output = tokio::task::block_in_place(|| run(command.env("DATABASE_MAX_CONNECTIONS", "1")));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
#[ignore = "needs a server that speaks Cognito: scripts/with-cognito cargo test --test it cognito -- --ignored"]
fn ids_are_synced_and_the_users_sign_in() {
    test(async {
        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        let pool = Pool::new().await;
        let ana = pool.add("ana@example.com", "ana").await;
        // Another handle, and another case of the address.
        let renamed = [("preferred_username", "benny"), ("email", "Ben@example.com"), ("email_verified", "true")];
        let ben = pool.add_with("ben@example.com", &renamed).await;
        let chloe = pool.add("chloe@example.com", "chloe").await;
        let (one, two) = (pool.add("one", "twice").await, pool.add("two", "twice").await);
        let esi = pool.add("esi@example.com", "esi").await;
        pool.add_with("nameless", &[]).await;
        pool.add("nobody's", "nobody").await;
        // More users than a page of sixty.
        for number in 0..60 {
            pool.add(&format!("user{number}"), &format!("user-{number}")).await;
            known(&users, &format!("user-{number}"), "MOCK").await;
        }
        for (handle, id) in [
            ("ana", "MOCK"),
            ("ben", ""),
            ("chloe", &chloe),
            ("twice", "MOCK"),
            ("dmitri", "MOCK"),
            ("esi", "a-real-id"),
        ] {
            known(&users, handle, id).await;
        }
        users.close().await;
        let sync = |arguments: &[&str]| sync(&pool, &postgres, arguments);
        let summary = "1 unchanged, 2 skipped, 2 in Cognito only, 1 in Postgres only";
        let of_ben = format!(
            "ben: ben@example.com ({ben}): CONFIRMED, enabled, same e-mail address, verified, not the same handle"
        );
        let (status, text, error) = sync(&["--dry-run"]);
        assert_eq!(status, Some(0), "{text}{error}");
        for line in
            [&format!("62 to update, {summary}; dry run: nothing was written"), &format!("would update      {of_ben}")]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
        let (status, text, error) = sync(&[]);
        assert_eq!(status, Some(0), "{text}{error}");
        for line in [
            &format!("62 updated, {summary}"),
            &format!("updated           ana: ana@example.com ({ana}): CONFIRMED, enabled"),
            &format!("updated           {of_ben}"),
            "unchanged         chloe",
            "skipped           esi: has another id, a-real-id; to replace it, add --replace esi",
            "skipped           twice: 2 users of the pool match",
            &format!("                    one ({one}): CONFIRMED"),
            &format!("                    two ({two}): CONFIRMED"),
            "in Cognito only   nameless (",
            "in Cognito only   nobody's (",
            "in Postgres only  dmitri",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let (_, text, _) = sync(&[]);
        assert!(text.contains("0 updated, 63 unchanged, 2 skipped"), "{text}");
        for json in [false, true] {
            let arguments = ["--replace", "esi", "--replace", "nobody", "--json"];
            let (status, text, error) = sync(&arguments[..if json { 5 } else { 4 }]);
            assert_eq!(status, Some(2), "{text}{error}");
            assert!(error.contains("nothing was changed: --replace nobody: PostgreSQL has no user"), "{error}");
            assert!(!text.contains("updated") && (!json || text.is_empty()), "{text}");
        }
        let (_, text, error) = sync(&["--replace", "esi", "--json"]);
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}"));
        let [replaced] = json["updated"].as_array().expect("a list").as_slice() else { panic!("{json}") };
        assert_eq!((&replaced["handle"], &replaced["replaces"]), (&json!("esi"), &json!("a-real-id")));
        assert_eq!((&replaced["cognitoUserId"], &replaced["candidate"]["status"]), (&json!(esi), &json!("CONFIRMED")));

        let world = World::new().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        let server = world.server_with(users, pool.token_issuer(&pool.jwks_url())).await;
        let (access, id) = pool.sign_in(&pool.client_id, "ana@example.com").await;
        let client = Client::new(server.address, Some(access.clone()));
        assert_eq!(client.data(ME, json!({})).await["me"]["handle"], "ana");
        client.send(json!({ "handle": "ben" }), "signed in with a pool's token").await;

        let anonymous = server.anonymous();
        let other_client = pool.sign_in(&pool.new_client().await, "ana@example.com").await.0;
        let elsewhere = Pool::new().await;
        elsewhere.add("ana@example.com", "ana").await;
        let other_pool = elsewhere.sign_in(&elsewhere.client_id, "ana@example.com").await.0;
        let claims: Value = {
            use base64::Engine;
            let part = access.split('.').nth(1).expect("claims");
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        let kid = decode_header(&access).expect("a header").kid;
        let pem = std::fs::read(std::env::var("COGNITO_TEST_KEY").expect("COGNITO_TEST_KEY")).expect("the pool's key");
        let mut expired = claims.clone();
        expired["exp"] = json!((Utc::now() - TimeDelta::minutes(2)).timestamp());
        let header = |algorithm| Header { kid: kid.clone(), ..Header::new(algorithm) };
        let key = EncodingKey::from_rsa_pem(&pem).expect("a key");
        let expired = encode(&header(Algorithm::RS256), &expired, &key).expect("a token");
        let public = reqwest::get(pool.jwks_url()).await.expect("keys").bytes().await.expect("keys");
        let hs256 = encode(&header(Algorithm::HS256), &claims, &EncodingKey::from_secret(&public)).expect("a token");
        let none = format!("eyJhbGciOiJub25lIn0.{}.", access.split('.').nth(1).expect("claims"));
        for (token, reason) in [
            (id, "token_use_invalid"),
            (expired, "token_expired"),
            (other_pool, "token_issuer_invalid"),
            (other_client, "token_client_invalid"),
            (none, "token_malformed"),
            (hs256, "token_algorithm_invalid"),
        ] {
            let (status, challenge, code, found) = refused(&anonymous, &token).await;
            assert_eq!((status, code.as_str(), found.as_str()), (401, "UNAUTHENTICATED", reason), "{token}");
            assert!(challenge.is_some());
        }
    });
}

#[test]
#[ignore = "needs a server that speaks Cognito: scripts/with-cognito cargo test --test it cognito -- --ignored"]
fn an_account_goes_only_to_who_has_verified_its_address() {
    test(async {
        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        let pool = Pool::new().await;
        // Strangers who want Ben's account: by his handle, by his address without proof, and after they were disabled.
        let own = ("email", "stranger@example.com");
        let chosen = pool.sign_up("chosen", &[("preferred_username", "ben"), own]).await;
        let claimed = pool.sign_up("claimed", &[("email", "ben@example.com")]).await;
        let ben = [("preferred_username", "ben"), ("email", "ben@example.com")];
        let unverified = pool.add_with("unverified", &ben).await;
        let disabled = pool.add("disabled\u{1b}[2J\u{202e}", "ben").await;
        let disable = pool.cognito.admin_disable_user().user_pool_id(&pool.id).username("disabled\u{1b}[2J\u{202e}");
        disable.send().await.expect("disabled");
        known(&users, "ben", "MOCK").await;
        users.close().await;
        let (status, text, error) = sync(&pool, &postgres, &[]);
        assert_eq!(status, Some(0), "{text}{error}");
        for line in [
            "skipped           ben: no user of the pool matches",
            &format!("chosen ({chosen}): UNCONFIRMED, enabled, not the same e-mail address, same handle"),
            &format!(
                "claimed ({claimed}): UNCONFIRMED, enabled, same e-mail address, not verified, not the same handle"
            ),
            &format!("unverified ({unverified}): CONFIRMED, enabled, same e-mail address, not verified, same handle"),
            &format!(r"disabled\u{{1b}}[2J\u{{202e}} ({disabled}): CONFIRMED, disabled, same e-mail address, verified"),
            "0 updated",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let (_, text, _) = sync(&pool, &postgres, &["--json"]);
        let escapes = ["\u{1b}", "\u{202e}"];
        assert!(text.contains(r"\u001b") && escapes.iter().all(|it| !text.contains(it)), "{text}");

        let (_, text, _) = sync(&pool, &postgres, &["--by-handle-only"]);
        assert!(text.contains("Warning: ") && text.contains("3 users of the pool match"), "{text}");
        for name in ["disabled\u{1b}[2J\u{202e}", "unverified"] {
            let delete = pool.cognito.admin_delete_user().user_pool_id(&pool.id).username(name);
            delete.send().await.expect("deleted");
        }
        let (_, text, _) = sync(&pool, &postgres, &["--by-handle-only", "--dry-run"]);
        assert!(text.contains(&format!("would update      ben: chosen ({chosen}): UNCONFIRMED")), "{text}");

        // None of them keeps Ben from his account.
        let owner = pool.add("ben@example.com", "ben").await;
        let (_, text, _) = sync(&pool, &postgres, &[]);
        assert!(text.contains(&format!("updated           ben: ben@example.com ({owner}): CONFIRMED")), "{text}");
    });
}

/// A read-only session rejects `SELECT … FOR UPDATE`.
#[test]
fn a_dry_run_locks_no_rows() {
    test(async {
        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        known(&users, "ana", "MOCK").await;
        users.close().await;
        let read_only = PgPoolOptions::new().max_connections(1).after_connect(|connection, _| {
            Box::pin(async {
                sqlx::query("SET default_transaction_read_only = on").execute(connection).await.map(drop)
            })
        });
        let users = Users::new(read_only.connect_lazy(postgres.url()).expect("a pool"));
        let replace = BTreeSet::new();
        let plan = users.plan_cognito_user_ids(Matching::VerifiedEmail, &[], &replace).await.expect("a plan");
        assert_eq!(plan.in_postgres_only, ["ana"]);
        let error = users.update_cognito_user_ids(Matching::VerifiedEmail, &[], &replace).await.expect_err("a lock");
        assert!(cruddur_messaging::report(&error).contains("read-only transaction"), "{error:?}");
    });
}

#[test]
#[ignore = "needs a server that speaks Cognito: scripts/with-cognito cargo test --test it cognito -- --ignored"]
fn the_keys_of_the_pool_are_fetched_rarely_and_their_source_may_be_unreachable() {
    test(async {
        let pool = Pool::new().await;
        // A proxy before the keys of the pool. It counts the fetches and can be unreachable.
        let (fetches, away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (counted, is_away, url) = (fetches.clone(), away.clone(), pool.url.clone());
        let relay = move |Path(path): Path<String>| async move {
            if is_away.load(Ordering::SeqCst) {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let keys = reqwest::get(format!("{url}/{path}")).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
            keys.text().await.map_err(|_| StatusCode::BAD_GATEWAY)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().route("/{*path}", get(relay));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        known(&users, "ana", &pool.add("ana", "ana").await).await;
        let world = World::new().await;
        let issuer = pool.token_issuer(&format!("http://{address}/{}/.well-known/jwks.json", pool.id));
        let server = world.server_with(users, issuer).await;
        let (access, _) = pool.sign_in(&pool.client_id, "ana").await;
        let (status, challenge, code, reason) = refused(&server.anonymous(), &access).await;
        assert_eq!((status, challenge, code.as_str(), reason.as_str()), (503, None, "UNAVAILABLE", "keys_unavailable"));
        away.store(false, Ordering::SeqCst);
        let client = Client::new(server.address, Some(access));
        crate::harness::eventually("that the keys come back", || async {
            (client.execute(ME, json!({})).await["data"]["me"]["handle"] == "ana").then_some(())
        })
        .await;
        let before = fetches.load(Ordering::SeqCst);
        let stranger = LocalIssuer::generate().expect("a key").token("nobody").expect("a token");
        for _ in 0..20 {
            let anonymous = server.anonymous();
            let asked = (0..50).map(|_| refused(&anonymous, &stranger));
            for answer in futures::future::join_all(asked).await {
                assert_eq!((answer.0, answer.3.as_str()), (401, "token_key_unknown"));
            }
        }
        assert!(fetches.load(Ordering::SeqCst) <= before + 1, "{} fetches", fetches.load(Ordering::SeqCst));
        away.store(true, Ordering::SeqCst);
        assert_eq!(client.data(ME, json!({})).await["me"]["handle"], "ana", "known keys stay good");
    });
}
