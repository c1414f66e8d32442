//! The sign-in of `dev`: authorization code with PKCE, as a browser client does it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::embedded::sign_in;
use cruddur_messaging::users::Users;
use reqwest::{Response, Url};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Client, Server, TestUser, World, shared, test, user};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A server with the sign-in, and a user that it offers.
struct SignIn {
    _world: World,
    server: Server,
    ana: TestUser,
    http: reqwest::Client,
}

impl SignIn {
    async fn new() -> Self {
        let world = World::new().await;
        let ana = user("ana<&>").await;
        let issuer = Arc::new(LocalIssuer::generate().expect("a key"));
        let users = Users::new(shared().await.users.pool().clone());
        let token_issuer = issuer.serve(CancellationToken::new()).await.expect("an issuer");
        let router = sign_in::router(issuer, users, vec![ana.uuid()]);
        let server = world
            .server_where(|parts| {
                parts.issuer = token_issuer;
                parts.sign_in = Some(router);
            })
            .await;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self { _world: world, server, ana, http }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    fn callback(&self) -> String {
        self.url("/callback")
    }

    /// An authorization request with some parameters changed.
    async fn authorize(&self, changes: &[(&str, &str)]) -> Response {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let callback = self.callback();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", "cruddur-dev"),
            ("redirect_uri", callback.as_str()),
            ("scope", "openid"),
            ("state", "a state"),
            ("nonce", "a nonce"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        parameters.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        parameters.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let url = Url::parse_with_params(&self.url("/oauth2/authorize"), parameters).expect("a URL");
        self.http.get(url).send().await.expect("a response")
    }

    /// A new code for ana.
    async fn code(&self) -> String {
        let chosen = self.authorize(&[("user", self.ana.handle())]).await;
        assert_eq!(chosen.status(), 303);
        let target = Url::parse(chosen.headers()["location"].to_str().expect("text")).expect("a URL");
        assert!(target.as_str().starts_with(&self.callback()), "{target}");
        let parameter =
            |name: &str| target.query_pairs().find(|(it, _)| it == name).map(|(_, value)| value.to_string());
        assert_eq!(parameter("state").as_deref(), Some("a state"));
        parameter("code").expect("a code")
    }

    async fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        let url = Url::parse_with_params("http://localhost/", parameters).expect("a URL");
        let form = self.http.post(self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        form.body(url.query().unwrap_or_default().to_owned()).send().await.expect("a response")
    }

    async fn token(&self, parameters: &[(&str, &str)]) -> (u16, Value) {
        let response = self.post("/oauth2/token", parameters).await;
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    async fn exchange(&self, code: &str, verifier: &str) -> (u16, Value) {
        let callback = self.callback();
        let parameters = [
            ("grant_type", "authorization_code"),
            ("client_id", "cruddur-dev"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", verifier),
        ];
        self.token(&parameters).await
    }

    async fn refresh(&self, token: &str) -> (u16, Value) {
        self.token(&[("grant_type", "refresh_token"), ("client_id", "cruddur-dev"), ("refresh_token", token)]).await
    }

    /// The handle of the user whose access token it is.
    async fn handle_of(&self, tokens: &Value) -> Value {
        let token = tokens["access_token"].as_str().expect("a token").to_owned();
        Client::new(self.server.address, Some(token)).data("{ me { handle } }", json!({})).await["me"]["handle"].clone()
    }
}

/// The name of a foreign page can resolve to this machine. The tests cannot send from another one.
#[test]
fn nobody_signs_in_from_elsewhere() {
    test(async {
        let it = SignIn::new().await;
        for request in [it.http.get(it.url("/oauth2/authorize?user=ana")), it.http.post(it.url("/oauth2/token"))] {
            let response = request.header("host", "rebound.example").send().await.expect("a response");
            assert_eq!(response.status(), 403);
            assert!(response.text().await.expect("text").contains("only on the machine"));
        }
    });
}

#[test]
fn a_user_signs_in_renews_the_token_and_signs_out() {
    test(async {
        let it = SignIn::new().await;
        let configuration: Value = reqwest::get(it.url("/.well-known/openid-configuration"))
            .await
            .expect("a response")
            .json()
            .await
            .expect("JSON");
        assert_eq!(configuration["authorization_endpoint"], it.url("/oauth2/authorize"));
        let page = it.authorize(&[]).await.text().await.expect("a page");
        assert!(page.contains("ana&lt;&amp;&gt; the tester") && !page.contains("ana<"), "{page}");

        let code = it.code().await;
        let (status, tokens) = it.exchange(&code, VERIFIER).await;
        assert_eq!(status, 200, "{tokens}");
        assert_eq!(it.handle_of(&tokens).await, it.ana.handle());
        let claims = tokens["id_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("claims");
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
        assert_eq!((&claims["nonce"], &claims["aud"]), (&json!("a nonce"), &json!("cruddur-dev")));

        let refresh = tokens["refresh_token"].as_str().expect("a token");
        let (status, renewed) = it.refresh(refresh).await;
        assert_eq!((status, it.handle_of(&renewed).await), (200, json!(it.ana.handle())));
        assert_eq!(it.post("/oauth2/revoke", &[("token", refresh)]).await.status(), 200);
        assert_eq!(it.refresh(refresh).await, (400, json!({ "error": "invalid_grant" })));
        let logout = format!("/logout?client_id=cruddur-dev&logout_uri={}", it.url("/"));
        let logout = it.http.get(it.url(&logout)).send().await.expect("a response");
        assert_eq!(logout.headers()["location"], it.url("/"));
    });
}

#[test]
fn a_code_is_exchanged_once_and_only_by_who_requested_it() {
    test(async {
        let it = SignIn::new().await;
        let invalid = (400, json!({ "error": "invalid_grant" }));
        let code = it.code().await;
        assert_eq!(it.exchange(&code, "another verifier").await, invalid);
        assert_eq!(it.exchange(&code, VERIFIER).await, invalid, "a failed attempt uses the code up");
        let code = it.code().await;
        assert_eq!(it.exchange(&code, VERIFIER).await.0, 200);
        assert_eq!(it.exchange(&code, VERIFIER).await, invalid);
        assert_eq!(it.exchange("nonsense", VERIFIER).await, invalid);
        assert_eq!(it.refresh("nonsense").await, invalid);
        // An access token is no refresh token.
        let access = it.exchange(&it.code().await, VERIFIER).await.1["access_token"].clone();
        assert_eq!(it.refresh(access.as_str().expect("a token")).await, invalid);
        let other = [("grant_type", "password"), ("client_id", "cruddur-dev")];
        assert_eq!(it.token(&other).await, (400, json!({ "error": "unsupported_grant_type" })));
        assert_eq!(it.token(&[("grant_type", "refresh_token")]).await, (400, json!({ "error": "invalid_client" })));
    });
}

#[test]
fn a_browser_is_sent_only_to_this_machine() {
    test(async {
        let it = SignIn::new().await;
        for changes in [
            ("redirect_uri", "https://evil.example/callback"),
            ("redirect_uri", "http://localhost.evil.example/"),
            ("redirect_uri", "javascript:alert(1)"),
            ("redirect_uri", ""),
            ("client_id", "another"),
            ("response_type", "token"),
            ("code_challenge", ""),
            ("code_challenge_method", "plain"),
        ] {
            let response = it.authorize(&[changes, ("user", it.ana.handle())]).await;
            assert_eq!((response.status().as_u16(), response.headers().get("location")), (400, None), "{changes:?}");
        }
        for uri in ["https://evil.example/", ""] {
            let logout = it.http.get(it.url(&format!("/logout?client_id=cruddur-dev&logout_uri={uri}")));
            assert_eq!(logout.send().await.expect("a response").status(), 400);
        }
        assert_eq!(it.authorize(&[("user", "nobody at all")]).await.status(), 400);
    });
}
