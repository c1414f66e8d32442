//! A token issuer for `dev` and the tests. It signs tokens with Cognito's claims, and serves its keys as Cognito does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::TokenIssuer;

/// The claim `iss` of the tokens. It does not contain the address of the issuer, so tokens stay valid if the port changes.
const ISSUER: &str = "https://dev.cruddur.invalid/dev-pool";
/// The claim `client_id` of the tokens.
pub const CLIENT_ID: &str = "cruddur-dev";
/// Lifetime of a token. It is long, because developers copy tokens into other programs.
pub const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Signs tokens.
pub struct LocalIssuer {
    key: EncodingKey,
    public: Jwk,
    kid: String,
}

impl LocalIssuer {
    /// An issuer with a new key.
    pub fn generate() -> anyhow::Result<Self> {
        Self::from_pem(&new_key()?)
    }

    /// The issuer whose key is in `key_file`. Creates the file with a new key if it does not exist.
    pub fn open(key_file: &Path) -> anyhow::Result<Self> {
        let unusable = || format!("the token key {} cannot be used", key_file.display());
        match fs::read_to_string(key_file) {
            Ok(pem) => Self::from_pem(&pem).with_context(unusable),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = new_key()?;
                write_private(key_file, &pem).with_context(unusable)?;
                Self::from_pem(&pem)
            }
            Err(error) => Err(error).with_context(unusable),
        }
    }

    fn from_pem(pem: &str) -> anyhow::Result<Self> {
        let key = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut public = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
        let kid = public.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        Ok(Self { key, public, kid })
    }

    /// Returns the claims that Cognito would put into an access token issued at `now`. The token is valid for [`GOOD_FOR`].
    pub fn claims(cognito_user_id: &str, now: DateTime<Utc>) -> Value {
        Self::claims_for(cognito_user_id, now, GOOD_FOR)
    }

    fn claims_for(cognito_user_id: &str, now: DateTime<Utc>, valid_for: Duration) -> Value {
        let issued = now.timestamp();
        json!({
            "sub": cognito_user_id,
            "iss": ISSUER,
            "client_id": CLIENT_ID,
            "origin_jti": Uuid::new_v4(),
            "event_id": Uuid::new_v4(),
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": issued,
            "exp": issued.saturating_add_unsigned(valid_for.as_secs()),
            "iat": issued,
            "jti": Uuid::new_v4(),
            "username": cognito_user_id,
        })
    }

    /// Returns a token with these claims.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        Ok(encode(&header, claims, &self.key)?)
    }

    /// Returns an access token for the user with this id, issued now. It is valid for [`GOOD_FOR`].
    pub fn token(&self, cognito_user_id: &str) -> anyhow::Result<String> {
        self.sign(&Self::claims(cognito_user_id, Utc::now()))
    }

    /// Returns an access token, issued now, that expires after `valid_for`. Fractions of a second are ignored.
    pub fn token_valid_for(&self, cognito_user_id: &str, valid_for: Duration) -> anyhow::Result<String> {
        self.sign(&Self::claims_for(cognito_user_id, Utc::now(), valid_for))
    }

    /// Returns the claims of a token, if this issuer has signed it and it has not expired.
    pub fn verified(&self, token: &str) -> Option<Value> {
        let key = DecodingKey::from_jwk(&self.public).ok()?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_aud = false;
        decode(token, &key, &validation).ok().map(|token| token.claims)
    }

    /// The public keys.
    pub fn key_set(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }

    /// Serves the public keys on a free port until `stop`. Returns the data for the verification of the tokens.
    pub async fn serve(&self, stop: CancellationToken) -> anyhow::Result<TokenIssuer> {
        let keys = self.key_set();
        let router = Router::new().route("/.well-known/jwks.json", get(move || async move { Json(keys) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the token issuer finds no free port")?;
        let jwks_url = format!("http://{}/.well-known/jwks.json", listener.local_addr()?);
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the token issuer failed");
            }
        });
        Ok(TokenIssuer {
            issuer: ISSUER.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            jwks_url,
            key_grace: TokenIssuer::KEY_GRACE,
        })
    }
}

fn new_key() -> anyhow::Result<String> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("creating an RSA key failed"))?;
    let der = pair.as_der().map_err(|_| anyhow!("encoding the RSA key failed"))?;
    Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref())))
}

/// Writes a file that only its owner can read. If the process ends during the write, there is no incomplete file at `path`.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(partial, path)
}
