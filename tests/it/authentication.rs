//! Access tokens of Cognito.

use chrono::{TimeDelta, Utc};
use cruddur_messaging::config::TokenIssuer;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::users::Users;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Client, World, eventually, shared, test, user};

pub(crate) const ME: &str = "{ __typename me { handle } }";

/// Status, challenge, code and reason of the response to a request with this token.
pub(crate) async fn refused(client: &Client, token: &str) -> (u16, Option<String>, String, String) {
    let request = client.http.post(&client.url).bearer_auth(token).json(&json!({ "query": ME }));
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate").map(|it| it.to_str().expect("text").to_owned());
    let body: Value = response.json().await.expect("a GraphQL body");
    let extensions = &body["errors"][0]["extensions"];
    let text = |name: &str| extensions[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(body.get("data"), None);
    (status, challenge, text("code"), text("reason"))
}

#[test]
fn tokens_that_do_not_verify_are_401_with_the_reason() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let issuer = &shared().await.issuer;
        let stranger = LocalIssuer::generate().expect("a key");
        let claims = |change: &dyn Fn(&mut Value)| {
            let mut claims = LocalIssuer::claims(&ana.cognito_user_id, Utc::now());
            change(&mut claims);
            claims
        };
        let signed = |change: &dyn Fn(&mut Value)| issuer.sign(&claims(change)).expect("a token");
        let good = signed(&|_| {});
        let expired = (Utc::now() - TimeDelta::seconds(60)).timestamp();
        let kid = jsonwebtoken::decode_header(&good).expect("a header").kid;
        // The public key as an HMAC secret: an attack on verifiers that let the token choose the algorithm.
        let public = serde_json::to_vec(&issuer.key_set()).expect("keys");
        let mut hs256 = Header::new(Algorithm::HS256);
        hs256.kid = kid;
        let hs256 = encode(&hs256, &claims(&|_| {}), &EncodingKey::from_secret(&public)).expect("a token");
        let parts: Vec<&str> = good.split('.').collect();
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]);
        let tampered = format!("{}.{}x.{}", parts[0], parts[1], parts[2]);
        let client = server.anonymous();
        let cases = [
            (signed(&|it| it["exp"] = json!(expired)), "token_expired"),
            (signed(&|it| it["iss"] = json!("https://elsewhere.invalid/pool")), "token_issuer_invalid"),
            (signed(&|it| it["token_use"] = json!("id")), "token_use_invalid"),
            (signed(&|it| it["client_id"] = json!("another")), "token_client_invalid"),
            (signed(&|it| drop(it.as_object_mut().map(|it| it.remove("exp")))), "token_malformed"),
            (signed(&|it| drop(it.as_object_mut().map(|it| it.remove("iss")))), "token_malformed"),
            (signed(&|it| drop(it.as_object_mut().map(|it| it.remove("sub")))), "token_malformed"),
            (signed(&|it| it["sub"] = json!(7)), "token_malformed"),
            (stranger.token(&ana.cognito_user_id).expect("a token"), "token_key_unknown"),
            (hs256, "token_algorithm_invalid"),
            (none, "token_malformed"),
            (tampered, "token_signature_invalid"),
            ("nonsense".to_owned(), "token_malformed"),
            ("a.b.c".to_owned(), "token_malformed"),
        ];
        for (token, reason) in cases {
            let (status, challenge, code, found) = refused(&client, &token).await;
            assert_eq!((status, code.as_str(), found.as_str()), (401, "UNAUTHENTICATED", reason), "{token}");
            assert!(challenge.is_some_and(|it| it.starts_with("Bearer error=\"invalid_token\"")));
        }
        let just_expired = (Utc::now() - TimeDelta::seconds(2)).timestamp();
        for token in [good, signed(&|it| it["exp"] = json!(just_expired))] {
            let client = Client::new(server.address, Some(token));
            assert_eq!(client.data(ME, json!({})).await["me"]["handle"], ana.handle());
        }
    });
}

#[test]
fn the_header_must_be_one_bearer_credential() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let client = server.anonymous();
        let body = json!({ "query": ME });
        for header in ["Basic YTpi", "Bearer", "Bearer ", &ana.token] {
            let request = client.http.post(&client.url).header("authorization", header).json(&body);
            assert_eq!(request.send().await.expect("a response").status().as_u16(), 401, "{header}");
        }
        let twice = client.http.post(&client.url).bearer_auth(&ana.token).bearer_auth(&ana.token).json(&body);
        assert_eq!(twice.send().await.expect("a response").status().as_u16(), 401);
        let lower = format!("bearer {}", ana.token);
        let lower = client.http.post(&client.url).header("authorization", lower).json(&body);
        assert_eq!(lower.send().await.expect("a response").status().as_u16(), 200);
        let cookie = client.http.post(&client.url).header("cookie", format!("access_token={}", ana.token)).json(&body);
        let answer: Value = cookie.send().await.expect("a response").json().await.expect("JSON");
        assert_eq!(answer["errors"][0]["extensions"]["reason"], "token_missing", "nothing but the header signs in");
    });
}

#[test]
fn without_a_token_only_fields_that_need_a_user_fail() {
    test(async {
        let world = World::new().await;
        let reads = || world.proxy.calls("Query") + world.proxy.calls("GetItem");
        let before = reads();
        let server = world.server().await;
        let client = server.anonymous();
        assert_eq!(client.data("{ __typename }", json!({})).await["__typename"], "Query");
        let schema = client.data("{ __schema { queryType { name } } }", json!({})).await;
        assert_eq!(schema["__schema"]["queryType"]["name"], "Query");
        let unauthenticated = ("UNAUTHENTICATED".to_owned(), Some("token_missing".to_owned()));
        let group = Uuid::new_v4();
        for query in [
            "{ me { handle } }".to_owned(),
            "{ user(handle: \"x\") { handle } }".to_owned(),
            "{ messageGroups { nodes { uuid } } }".to_owned(),
            format!("{{ messageGroup(uuid: \"{group}\") {{ uuid }} }}"),
            format!("{{ messages(messageGroupUuid: \"{group}\") {{ nodes {{ uuid }} }} }}"),
            "mutation { createMessage(input: { to: { handle: \"x\" }, body: \"x\" }) { message { uuid } } }".to_owned(),
        ] {
            assert_eq!(client.error(&query, json!({})).await, unauthenticated, "{query}");
        }
        assert_eq!(reads(), before);
    });
}

#[test]
fn a_token_of_no_user_or_of_two_users_has_no_user() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let shared = shared().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let both = Uuid::new_v4().to_string();
        for user in [&ana, &ben] {
            sqlx::query("UPDATE public.users SET cognito_user_id = $1 WHERE uuid = $2")
                .bind(&both)
                .bind(user.uuid().0)
                .execute(shared.users.pool())
                .await
                .expect("an update");
        }
        for id in [Uuid::new_v4().to_string(), both, "MOCK".to_owned(), "nul\u{0}".to_owned()] {
            let client = Client::new(server.address, Some(shared.issuer.token(&id).expect("a token")));
            let expected = ("UNAUTHENTICATED".to_owned(), Some("user_unknown".to_owned()));
            assert_eq!(client.error("{ me { handle } }", json!({})).await, expected, "{id}");
            assert_eq!(client.data("{ __typename }", json!({})).await["__typename"], "Query");
        }
    });
}

#[test]
fn an_unreachable_key_source_is_not_the_fault_of_the_client() {
    test(async {
        let world = World::new().await;
        let shared = shared().await;
        let ana = user("ana").await;
        let nowhere = TokenIssuer { jwks_url: "http://127.0.0.1:9/jwks.json".into(), ..shared.token_issuer.clone() };
        let server = world.server_with(Users::new(shared.users.pool().clone()), nowhere).await;
        let (status, challenge, code, reason) = refused(&server.anonymous(), &ana.token).await;
        assert_eq!((status, code.as_str(), reason.as_str()), (503, "UNAVAILABLE", "keys_unavailable"));
        assert_eq!(challenge, None);
        assert_eq!(server.anonymous().data("{ __typename }", json!({})).await["__typename"], "Query");
    });
}

/// Otherwise the server would reject every token until it fetches the keys the next time.
#[test]
fn an_empty_key_set_is_not_the_fault_of_the_client() {
    test(async {
        use std::sync::{Arc, Mutex};

        use axum::{Json, Router, routing::get};
        let shared = shared().await;
        let published = Arc::new(Mutex::new(json!({ "keys": [] })));
        let answer = published.clone();
        let keys = get(async move || Json(answer.lock().expect("no panic while locked").clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let jwks_url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", keys)).await });
        let issuer = TokenIssuer { jwks_url, ..shared.token_issuer.clone() };
        let server = World::new().await.server_with(Users::new(shared.users.pool().clone()), issuer).await;
        let ana = user("ana").await;
        let (status, challenge, _, reason) = refused(&server.anonymous(), &ana.token).await;
        assert_eq!((status, challenge, reason.as_str()), (503, None, "keys_unavailable"));
        *published.lock().expect("no panic while locked") = json!(shared.issuer.key_set());
        eventually("that the token is accepted", || async {
            let me = server.client(&ana).execute(ME, json!({})).await;
            (me["data"]["me"]["handle"] == ana.handle()).then_some(())
        })
        .await;
    });
}

#[test]
fn known_keys_stay_valid_while_their_source_is_unreachable() {
    test(async {
        let world = World::new().await;
        let shared = shared().await;
        let ana = user("ana").await;
        let stop = CancellationToken::new();
        let source = shared.issuer.serve(stop.clone()).await.expect("a key source");
        let server = world.server_with(Users::new(shared.users.pool().clone()), source).await;
        let client = server.client(&ana);
        assert_eq!(client.data(ME, json!({})).await["me"]["handle"], ana.handle());
        stop.cancel();
        assert_eq!(client.data(ME, json!({})).await["me"]["handle"], ana.handle());
    });
}

#[test]
fn unknown_key_ids_fetch_the_keys_at_most_once_a_cooldown() {
    test(async {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use axum::routing::get;
        let shared = shared().await;
        let fetches = Arc::new(AtomicUsize::new(0));
        let (keys, counted) = (shared.issuer.key_set(), fetches.clone());
        let router = axum::Router::new().route(
            "/keys",
            get(move || async move {
                counted.fetch_add(1, Ordering::SeqCst);
                axum::Json(keys)
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let jwks_url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let world = World::new().await;
        let issuer = TokenIssuer { jwks_url, ..shared.token_issuer.clone() };
        let server = world.server_with(Users::new(shared.users.pool().clone()), issuer).await;
        let ana = user("ana").await;
        let stranger = LocalIssuer::generate().expect("a key").token(&ana.cognito_user_id).expect("a token");
        let client = server.anonymous();
        for _ in 0..20 {
            let asked = (0..50).map(|_| refused(&client, &stranger));
            for answer in futures::future::join_all(asked).await {
                assert_eq!(answer.0, 401);
            }
        }
        // One fetch at the start or at the first request, and none for the other 999.
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert_eq!(server.client(&ana).data(ME, json!({})).await["me"]["handle"], ana.handle());
    });
}

#[test]
fn an_accepted_token_is_rejected_after_it_expires_and_a_changed_one_at_once() {
    test(async {
        let server = World::new().await.server().await;
        let issuer = &shared().await.issuer;
        let ana = user("ana").await;
        // Valid for some more seconds, including the leeway of ten seconds.
        let mut claims = LocalIssuer::claims(&ana.cognito_user_id, Utc::now());
        claims["exp"] = json!((Utc::now() - TimeDelta::seconds(2)).timestamp());
        let token = issuer.sign(&claims).expect("a token");
        let client = Client::new(server.address, Some(token.clone()));
        for _ in 0..2 {
            client.data("{ __typename }", json!({})).await;
        }
        // One character of the signature is changed.
        let mut forged = token.clone().into_bytes();
        let at = forged.len() - 10;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).expect("ASCII");
        let client = server.anonymous();
        assert_eq!(refused(&client, &forged).await.3, "token_signature_invalid");
        eventually("that it has expired", || async {
            let request = client.http.post(&client.url).bearer_auth(&token).json(&json!({ "query": "{ __typename }" }));
            (request.send().await.expect("a response").status().as_u16() == 401).then_some(())
        })
        .await;
        assert_eq!(refused(&client, &token).await.3, "token_expired");
    });
}
