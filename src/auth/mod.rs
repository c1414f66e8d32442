//! Access tokens of Amazon Cognito: who asks, as far as the token says.
//!
//! Claims of an access token: "Understanding the access token", Cognito developer guide. It carries no `aud`; the app
//! client stands in `client_id`, and `token_use` tells it from an ID token.

pub mod keys;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use self::keys::{KeyLookup, KeySource};

/// How far the issuer's clock and ours may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 10;

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The `sub` claim: `users.cognito_user_id`.
    pub cognito_user_id: String,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one `Bearer` credential.
    #[error("The Authorization header is not one Bearer token.")]
    Header,
    /// Not a signed JWT, or a claim is missing or of the wrong type.
    #[error("The access token is malformed.")]
    Malformed,
    /// Not RS256.
    #[error("The access token is not signed with RS256.")]
    Algorithm,
    /// No key of the issuer has the token's `kid`.
    #[error("The access token is signed with a key that its issuer does not have.")]
    UnknownKey,
    /// The signature does not match.
    #[error("The access token's signature is wrong.")]
    Signature,
    /// Past its `exp`.
    #[error("The access token has expired.")]
    Expired,
    /// Another user pool's.
    #[error("The access token is another issuer's.")]
    Issuer,
    /// An ID token, say.
    #[error("The token is not an access token.")]
    NotAccess,
    /// Another app client's.
    #[error("The access token is another client's.")]
    Client,
    /// The key source is unreachable, so that nothing can be said about the token.
    #[error("The access token cannot be verified at the moment.")]
    KeysUnavailable,
}

impl TokenError {
    /// The name that clients compare with.
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

/// Checks access tokens of one user pool for one app client.
pub struct Verifier {
    validation: Validation,
    client_id: String,
    keys: KeySource,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    token_use: Option<String>,
    client_id: Option<String>,
}

impl Verifier {
    /// Accepts tokens of `issuer` for `client_id`, signed with a key of `keys`.
    pub fn new(issuer: &str, client_id: impl Into<String>, keys: KeySource) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.validate_aud = false;
        validation.leeway = LEEWAY_SECONDS;
        Self { validation, client_id: client_id.into(), keys }
    }

    /// The key source, for whoever keeps it fresh.
    pub fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Verifies a token.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let header = decode_header(token).map_err(|error| sort(error.kind()))?;
        if header.alg != Algorithm::RS256 {
            return Err(TokenError::Algorithm);
        }
        let key = match self.keys.get(header.kid.as_deref().ok_or(TokenError::UnknownKey)?).await {
            KeyLookup::Found(key) => key,
            KeyLookup::Unknown => return Err(TokenError::UnknownKey),
            KeyLookup::Unavailable => return Err(TokenError::KeysUnavailable),
        };
        let claims = decode::<Claims>(token, &key, &self.validation).map_err(|error| sort(error.kind()))?.claims;
        if claims.token_use.as_deref() != Some("access") {
            return Err(TokenError::NotAccess);
        }
        if claims.client_id.as_deref() != Some(self.client_id.as_str()) {
            return Err(TokenError::Client);
        }
        Ok(VerifiedToken { cognito_user_id: claims.sub })
    }
}

fn sort(kind: &ErrorKind) -> TokenError {
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
