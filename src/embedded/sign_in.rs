//! The sign-in of `dev`: OpenID Connect with the paths and the behaviour of Cognito's managed login, but without passwords.
//! The developer chooses a user on a page. Sources: OpenID Connect Core 1.0, RFC 6749, RFC 7009 (revocation), RFC 7636
//! (PKCE), and "User pool endpoints" in Cognito's developer guide.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Form, Query, RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{CLIENT_ID, LocalIssuer};
use crate::config::{LocalHosts, local_origin};
use crate::http::this_machine::is_from_this_machine;
use crate::model::{User, UserUuid};
use crate::users::Users;

const PAGE: &str = include_str!("sign_in.html");
const STYLE: &str = include_str!("sign_in.css");
const POLICY: &str =
    "default-src 'none'; img-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Time for which a code can be exchanged for tokens.
const CODE_IS_VALID: Duration = Duration::from_secs(60);
/// Lifetime of an access token: the default of Cognito.
const ACCESS_IS_VALID: Duration = Duration::from_secs(3600);
/// Lifetime of a refresh token: the default of Cognito.
const REFRESH_IS_VALID: Duration = Duration::from_secs(30 * 24 * 3600);

/// Signs users in.
pub struct SignIn {
    issuer: Arc<LocalIssuer>,
    users: Users,
    /// The users that the page offers.
    offered: Vec<UserUuid>,
    /// The codes that were issued and not exchanged.
    codes: Mutex<HashMap<String, Code>>,
    /// The ids of the refresh tokens that were revoked.
    revoked: Mutex<HashSet<String>>,
}

/// An authorization code, and the data to check when it is exchanged.
struct Code {
    sub: String,
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
    issued_at: Instant,
}

/// The parameters of an authorization request.
#[derive(Deserialize)]
struct Authorize {
    response_type: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    /// The handle of the user that was chosen on the page.
    user: Option<String>,
}

/// The parameters of a token request.
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_id: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Revoke {
    token: String,
}

#[derive(Deserialize)]
struct Logout {
    client_id: Option<String>,
    logout_uri: Option<String>,
}

/// The error of a token request (RFC 6749, section 5.2).
struct TokenRefused(&'static str);

impl IntoResponse for TokenRefused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// Returns the error page for an invalid request to sign in or out. No error is sent to the `redirect_uri`.
fn refused(problem: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("The sign-in request is invalid: {problem}.\n")).into_response()
}

/// Returns the routes of the sign-in. The page offers the users `offered`.
pub fn router(issuer: Arc<LocalIssuer>, users: Users, offered: Vec<UserUuid>) -> Router {
    let sign_in = Arc::new(SignIn { issuer, users, offered, codes: Mutex::default(), revoked: Mutex::default() });
    let tokens = Router::new()
        .route("/oauth2/authorize", get(authorize))
        .route("/oauth2/token", post(token))
        // There are no passwords, so anybody who reaches these routes can sign in as any user.
        .layer(from_fn(only_on_this_machine));
    tokens
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/.well-known/jwks.json", get(async |State(it): State<Arc<SignIn>>| Json(it.issuer.key_set())))
        .route("/oauth2/sign-in.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/oauth2/revoke", post(revoke))
        .route("/logout", get(logout))
        .with_state(sign_in)
}

async fn only_on_this_machine(request: Request, next: Next) -> Response {
    if is_from_this_machine(&request) {
        return next.run(request).await;
    }
    let problem = "Signing in without a password works only on the machine on which the server runs, at localhost.\n";
    (StatusCode::FORBIDDEN, problem).into_response()
}

async fn configuration(headers: HeaderMap) -> Json<Value> {
    let origin = local_origin(&headers);
    Json(json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/oauth2/authorize"),
        "token_endpoint": format!("{origin}/oauth2/token"),
        "revocation_endpoint": format!("{origin}/oauth2/revoke"),
        "jwks_uri": format!("{origin}/.well-known/jwks.json"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }))
}

/// Whether the browser may be sent to `address` after it signed in or out: to this server, or to another one on this machine.
fn is_allowed_redirect(address: &str, headers: &HeaderMap) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let is_local = LocalHosts::default().contains(url.host_str().unwrap_or_default());
    let is_own = url.origin().ascii_serialization() == local_origin(headers);
    matches!(url.scheme(), "http" | "https") && (is_local || is_own)
}

async fn authorize(
    State(sign_in): State<Arc<SignIn>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Query(request): Query<Authorize>,
) -> Response {
    if request.client_id.as_deref() != Some(CLIENT_ID) {
        return refused("client_id is unknown");
    }
    let Some(redirect_uri) = request.redirect_uri.filter(|uri| is_allowed_redirect(uri, &headers)) else {
        return refused("redirect_uri is missing, or it is not on this machine");
    };
    if request.response_type.as_deref() != Some("code") {
        return refused("response_type must be code");
    }
    let is_s256 = request.code_challenge_method.as_deref() == Some("S256");
    let Some(challenge) = request.code_challenge.filter(|challenge| is_s256 && !challenge.is_empty()) else {
        return refused("code_challenge is missing, or its method is not S256");
    };
    let Some(handle) = request.user else {
        return sign_in.page(&query.unwrap_or_default()).await;
    };
    let sub = match sign_in.users.cognito_user_id(&handle).await {
        Ok(Some(sub)) => sub,
        Ok(None) => return refused("the user does not exist"),
        Err(error) => return (StatusCode::SERVICE_UNAVAILABLE, crate::report(&error)).into_response(),
    };
    let Ok(mut target) = Url::parse(&redirect_uri) else { return refused("redirect_uri is not a URL") };
    let code = Uuid::new_v4().simple().to_string();
    target.query_pairs_mut().append_pair("code", &code);
    if let Some(state) = &request.state {
        target.query_pairs_mut().append_pair("state", state);
    }
    let issued = Code { sub, redirect_uri, challenge, nonce: request.nonce, issued_at: Instant::now() };
    let mut codes = lock(&sign_in.codes);
    codes.retain(|_, code| code.issued_at.elapsed() < CODE_IS_VALID);
    codes.insert(code, issued);
    Redirect::to(target.as_str()).into_response()
}

async fn token(
    State(sign_in): State<Arc<SignIn>>,
    headers: HeaderMap,
    Form(request): Form<TokenRequest>,
) -> Result<Response, TokenRefused> {
    if request.client_id.as_deref() != Some(CLIENT_ID) {
        return Err(TokenRefused("invalid_client"));
    }
    let (sub, nonce, refresh) = match request.grant_type.as_str() {
        "authorization_code" => {
            let code = request.code.and_then(|code| lock(&sign_in.codes).remove(&code));
            let code = code.filter(|code| code.issued_at.elapsed() < CODE_IS_VALID);
            let code = code.filter(|code| request.redirect_uri.as_ref() == Some(&code.redirect_uri));
            let is_proved = |code: &Code| {
                let verifier = request.code_verifier.as_deref().unwrap_or_default();
                URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == code.challenge
            };
            let code = code.filter(is_proved).ok_or(TokenRefused("invalid_grant"))?;
            let refresh = sign_in.refresh_token(&code.sub)?;
            (code.sub, code.nonce, Some(refresh))
        }
        "refresh_token" => {
            let claims = request.refresh_token.and_then(|token| sign_in.refresh_claims(&token));
            let (sub, id) = claims.ok_or(TokenRefused("invalid_grant"))?;
            if lock(&sign_in.revoked).contains(&id) {
                return Err(TokenRefused("invalid_grant"));
            }
            (sub, None, None)
        }
        _ => return Err(TokenRefused("unsupported_grant_type")),
    };
    let failed = |_| TokenRefused("server_error");
    let now = Utc::now().timestamp();
    let id_token = json!({
        "iss": local_origin(&headers),
        "sub": &sub,
        "aud": CLIENT_ID,
        "token_use": "id",
        "nonce": nonce,
        "iat": now,
        "exp": now.saturating_add_unsigned(ACCESS_IS_VALID.as_secs()),
    });
    let mut tokens = json!({
        "access_token": sign_in.issuer.token_valid_for(&sub, ACCESS_IS_VALID).map_err(failed)?,
        "id_token": sign_in.issuer.sign(&id_token).map_err(failed)?,
        "token_type": "Bearer",
        "expires_in": ACCESS_IS_VALID.as_secs(),
    });
    // With `null`, the client would replace its refresh token.
    if let Some(refresh) = refresh {
        tokens["refresh_token"] = refresh.into();
    }
    Ok(([(CACHE_CONTROL, "no-store")], Json(tokens)).into_response())
}

async fn revoke(State(sign_in): State<Arc<SignIn>>, Form(request): Form<Revoke>) -> StatusCode {
    if let Some((_, id)) = sign_in.refresh_claims(&request.token) {
        lock(&sign_in.revoked).insert(id);
    }
    // RFC 7009, section 2.2: the response is the same for a token that is not valid.
    StatusCode::OK
}

/// Signs out. There is no session to end, because the page asks for the user each time.
async fn logout(headers: HeaderMap, Query(request): Query<Logout>) -> Response {
    let target = request.logout_uri.filter(|uri| is_allowed_redirect(uri, &headers));
    match target {
        Some(target) if request.client_id.as_deref() == Some(CLIENT_ID) => Redirect::to(&target).into_response(),
        _ => refused("client_id is unknown, or logout_uri is missing or not on this machine"),
    }
}

impl SignIn {
    /// Responds with the page that offers the users. Its links repeat `query`, the parameters of the request.
    async fn page(&self, query: &str) -> Response {
        let found = match self.users.by_uuids(&self.offered).await {
            Ok(found) => found,
            Err(error) => return (StatusCode::SERVICE_UNAVAILABLE, crate::report(&error)).into_response(),
        };
        let link = |user: &Arc<User>| {
            let mut address = Url::parse(&format!("http://localhost/oauth2/authorize?{query}")).ok()?;
            address.query_pairs_mut().append_pair("user", &user.handle);
            let href = escaped(&format!("{}?{}", address.path(), address.query()?));
            let (name, handle) = (escaped(&user.display_name), escaped(&user.handle));
            Some(format!("<li><a href=\"{href}\">{name} <span>@{handle}</span></a></li>"))
        };
        let users = self.offered.iter().filter_map(|uuid| found.get(uuid)).filter_map(link);
        let page = PAGE.replace("{users}", &users.collect::<Vec<_>>().join("\n        "));
        let headers =
            [(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-store"), (REFERRER_POLICY, "no-referrer")];
        (headers, Html(page)).into_response()
    }

    fn refresh_token(&self, sub: &str) -> Result<String, TokenRefused> {
        let claims = json!({
            "sub": sub,
            "jti": Uuid::new_v4(),
            "token_use": "refresh",
            "exp": Utc::now().timestamp().saturating_add_unsigned(REFRESH_IS_VALID.as_secs()),
        });
        self.issuer.sign(&claims).map_err(|_| TokenRefused("server_error"))
    }

    /// Returns the `sub` of the user and the id of a refresh token, if the token is valid.
    fn refresh_claims(&self, token: &str) -> Option<(String, String)> {
        let claims = self.issuer.verified(token)?;
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        (claims["token_use"] == "refresh").then(|| Some((text("sub")?, text("jti")?))).flatten()
    }
}

/// Escapes a text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
