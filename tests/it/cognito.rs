//! Tests with a local Cognito server that signs real tokens. `scripts/with-cognito` starts it.

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
use cruddur_messaging::model::{User, UserUuid};
use cruddur_messaging::users::Users;
use jsonwebtoken::{Algorithm, EncodingKey, Header, decode_header, encode};
use serde_json::{Value, json};
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

    /// Adds a user. Returns the `sub`.
    async fn add(&self, username: &str, preferred_username: Option<&str>) -> String {
        let mut request = self.cognito.admin_create_user().user_pool_id(&self.id).username(username);
        if let Some(name) = preferred_username {
            let name = AttributeType::builder().name("preferred_username").value(name).build().expect("an attribute");
            request = request.user_attributes(name);
        }
        let user = request.send().await.expect("a user").user.expect("a user");
        let password = self.cognito.admin_set_user_password().user_pool_id(&self.id).username(username);
        password.password(PASSWORD).permanent(true).send().await.expect("a password");
        let sub = user.attributes().iter().find(|it| it.name() == "sub").and_then(|it| it.value());
        sub.expect("a sub").to_owned()
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
        }
    }

    fn jwks_url(&self) -> String {
        format!("{}/{}/.well-known/jwks.json", self.url, self.id)
    }
}

async fn known(users: &Users, handle: &str, cognito_user_id: &str) {
    let user = User { uuid: UserUuid(Uuid::new_v4()), handle: handle.to_owned(), display_name: handle.to_owned() };
    assert!(users.seed(&user, "tester@example.com", cognito_user_id).await.expect("a user"));
}

#[test]
#[ignore = "needs a server that speaks Cognito: scripts/with-cognito cargo test --test it cognito -- --ignored"]
fn ids_are_synced_and_the_users_sign_in() {
    test(async {
        let postgres = embedded_postgres().await;
        let users = Users::new(postgres.pool().expect("a pool"));
        users.migrate().await.expect("migrations");
        let pool = Pool::new().await;
        let ana = pool.add("ana@example.com", Some("ana")).await;
        let ben = pool.add("ben@example.com", Some("ben")).await;
        let chloe = pool.add("chloe@example.com", Some("chloe")).await;
        let (one, two) = (pool.add("one", Some("twice")).await, pool.add("two", Some("twice")).await);
        let thief = pool.add("thief", Some("esi")).await;
        pool.add("nameless", None).await;
        pool.add("stranger", Some("stranger")).await;
        // More users than a page of sixty.
        for number in 0..60 {
            pool.add(&format!("user{number}"), Some(&format!("user-{number}"))).await;
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
        let sync = |arguments: &[&str]| {
            let mut command = command();
            command.args(["db", "update-cognito-user-ids"]).args(arguments);
            command.env("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", &pool.url);
            command.env("AWS_COGNITO_USER_POOL_ID", &pool.id).env("DATABASE_URL", postgres.url());
            let output = tokio::task::block_in_place(|| run(command.env("DATABASE_MAX_CONNECTIONS", "1")));
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&text).into_owned())
        };
        let summary = "62 updated, 1 unchanged, 2 skipped, 2 in Cognito only, 1 in Postgres only";
        let (status, text) = sync(&["--dry-run"]);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains(summary) && text.contains("nothing was written"), "{text}");
        let (status, text) = sync(&[]);
        assert_eq!(status, Some(0), "{text}");
        for line in [
            summary,
            &format!("updated           ana: {ana}"),
            &format!("updated           ben: {ben}"),
            "unchanged         chloe",
            "--replace esi",
            "in Cognito only   nameless, who has no preferred_username",
            "in Cognito only   stranger (stranger)",
            "in Postgres only  dmitri",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let twice = text.lines().find(|line| line.contains("skipped           twice")).expect("a line");
        assert!(twice.contains(&one) && twice.contains(&two), "{twice}");
        let (_, text) = sync(&[]);
        assert!(text.contains("0 updated, 63 unchanged, 2 skipped"), "{text}");
        let (status, text) = sync(&["--replace", "nobody"]);
        assert!(status == Some(2) && text.contains("--replace nobody"), "{text}");
        let (_, text) = sync(&["--replace", "esi", "--json"]);
        let json: Value =
            serde_json::from_str(text.lines().find(|it| it.starts_with('{')).expect("JSON")).expect("JSON");
        let replaced = json!({ "handle": "esi", "cognitoUserId": thief, "replaces": "a-real-id" });
        assert_eq!(json["updated"], json!([replaced]));

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
        elsewhere.add("ana@example.com", Some("ana")).await;
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
        known(&users, "ana", &pool.add("ana", Some("ana")).await).await;
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
