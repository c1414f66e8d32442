//! Access tokens of Amazon Cognito.
//!
//! Source of the claims: "Understanding the access token", Cognito developer guide. An access token has no `aud`; the app client
//! is in `client_id`, and `token_use` distinguishes it from an ID token.

pub mod keys;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;

use self::keys::{KeyLookup, KeySource};
use crate::environment::Environment;
use crate::metrics::CacheCounts;

/// Maximum difference between the clock of the issuer and the local clock, in seconds.
const LEEWAY_SECONDS: u64 = 10;
/// Maximum number of accepted tokens in the cache. A token takes about 200 bytes.
const CACHED_TOKENS: usize = 10_000;

/// The content of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The `sub` claim: `users.cognito_user_id`.
    pub cognito_user_id: String,
    /// The `exp` claim, in seconds since 1970.
    pub expires_at: i64,
    /// The id of the key that signed it.
    pub kid: Arc<str>,
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The header is not exactly one `Bearer` credential.
    #[error("The Authorization header must be one Bearer token.")]
    Header,
    /// Not a signed JWT, or a claim is missing or of the wrong type.
    #[error("The access token is malformed.")]
    Malformed,
    /// Not RS256.
    #[error("The access token is not signed with RS256.")]
    Algorithm,
    /// The issuer has no key with the `kid` of the token.
    #[error("The access token is signed with a key that the issuer does not have.")]
    UnknownKey,
    /// The signature does not match.
    #[error("The signature of the access token is wrong.")]
    Signature,
    /// Past its `exp`.
    #[error("The access token has expired.")]
    Expired,
    /// The token of another user pool.
    #[error("The access token is from another issuer.")]
    Issuer,
    /// For example an ID token.
    #[error("The token is not an access token.")]
    NotAccess,
    /// The token of another app client.
    #[error("The access token is for another client.")]
    Client,
    /// The key source is unreachable, so it is unknown whether the token is valid.
    #[error("The access token cannot be verified at the moment.")]
    KeysUnavailable,
}

impl TokenError {
    /// The value of `extensions.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Header => "authorization_invalid",
            Self::Malformed => "token_malformed",
            Self::Algorithm => "token_algorithm_invalid",
            Self::UnknownKey => "token_key_unknown",
            Self::Signature => "token_signature_invalid",
            Self::Expired => "token_expired",
            Self::Issuer => "token_issuer_invalid",
            Self::NotAccess => "token_use_invalid",
            Self::Client => "token_client_invalid",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

/// Verifies the access tokens of one user pool for one app client.
pub struct Verifier {
    validation: Validation,
    client_id: String,
    keys: KeySource,
    environment: Arc<dyn Environment>,
    /// By the SHA-256 hash of the token. Verifying a signature takes far longer than all other checks.
    accepted: Cache<[u8; SHA256_OUTPUT_LEN], Arc<Accepted>>,
    looks: CacheCounts,
}

/// A token that was accepted before. It is valid until it expires or its key is no longer valid.
struct Accepted {
    key: Arc<DecodingKey>,
    token: VerifiedToken,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    token_use: Option<String>,
    client_id: Option<String>,
}

impl Verifier {
    /// Accepts tokens of `issuer` for `client_id`, signed with a key of `keys`.
    pub fn new(issuer: &str, client_id: impl Into<String>, keys: KeySource, environment: Arc<dyn Environment>) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_aud = false;
        validation.leeway = LEEWAY_SECONDS;
        Self {
            validation,
            client_id: client_id.into(),
            keys,
            environment,
            accepted: Cache::new(CACHED_TOKENS),
            looks: CacheCounts::new("tokens"),
        }
    }

    /// The key source, which a background task refreshes.
    pub fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Verifies a token.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let known = self.accepted.get(&hash).filter(|accepted| self.is_valid(accepted));
        self.looks.count(known.is_some());
        if let Some(accepted) = known {
            return Ok(accepted.token.clone());
        }
        let accepted = Arc::new(Box::pin(self.check(token)).await?);
        self.accepted.insert(hash, accepted.clone());
        Ok(accepted.token.clone())
    }

    fn is_valid(&self, accepted: &Accepted) -> bool {
        let is_current = self.keys.known(&accepted.token.kid).is_some_and(|key| Arc::ptr_eq(&key, &accepted.key));
        is_current && accepted.token.expires_at > self.environment.now().timestamp() - LEEWAY_SECONDS as i64
    }

    /// For how long a connection that this token has opened may stay open. It is closed when the token expires. A connection
    /// that is opened within the leeway after that is closed at the end of the leeway.
    pub fn remaining(&self, token: &VerifiedToken) -> Duration {
        let now = self.environment.now().timestamp_millis();
        let expiry = token.expires_at.saturating_mul(1000);
        let end = if now < expiry { expiry } else { expiry.saturating_add(LEEWAY_SECONDS as i64 * 1000) };
        Duration::from_millis(u64::try_from(end.saturating_sub(now)).unwrap_or_default())
    }

    /// Whether the key that signed a token is still a key of the issuer.
    pub fn has_key_of(&self, token: &VerifiedToken) -> bool {
        self.keys.known(&token.kid).is_some()
    }

    async fn check(&self, token: &str) -> Result<Accepted, TokenError> {
        let header = decode_header(token).map_err(|error| error_of(error.kind()))?;
        if header.alg != Algorithm::RS256 {
            return Err(TokenError::Algorithm);
        }
        let kid = header.kid.ok_or(TokenError::UnknownKey)?;
        let key = match self.keys.get(&kid).await {
            KeyLookup::Found(key) => key,
            KeyLookup::Unknown => return Err(TokenError::UnknownKey),
            KeyLookup::Unavailable => return Err(TokenError::KeysUnavailable),
        };
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(|error| error_of(error.kind()))?.claims;
        if claims.token_use.as_deref() != Some("access") {
            return Err(TokenError::NotAccess);
        }
        if claims.client_id.as_deref() != Some(self.client_id.as_str()) {
            return Err(TokenError::Client);
        }
        // The fraction of a second is dropped. A number beyond the range of `i64` becomes its maximum.
        let expires_at = claims.exp as i64;
        Ok(Accepted { key, token: VerifiedToken { cognito_user_id: claims.sub, expires_at, kid: kid.into() } })
    }
}

fn error_of(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            TokenError::Algorithm
        }
        _ => TokenError::Malformed,
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests;
