//! Verifies the access token of a request or a WebSocket.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};

use super::api::Api;
use super::refusal::Refusal;
use crate::auth::{TokenError, VerifiedToken};

/// Verifies the token in the `Authorization` header. Returns `None` if there is no such header.
pub async fn of_headers(api: &Api, headers: &HeaderMap) -> Result<Option<VerifiedToken>, Refusal> {
    match headers.get_all(AUTHORIZATION).iter().count() {
        0 => return Ok(None),
        1 => {}
        _ => return Err(TokenError::Header.into()),
    }
    let Ok(Some(Authorization(bearer))) = headers.typed_try_get::<Authorization<Bearer>>() else {
        return Err(TokenError::Header.into());
    };
    match bearer.token().trim() {
        "" => Err(TokenError::Header.into()),
        token => of_token(api, token).await.map(Some),
    }
}

/// Verifies a token. If the server registers users, also adds the user of the token if it does not exist.
pub async fn of_token(api: &Api, token: &str) -> Result<VerifiedToken, Refusal> {
    let verified = api.verifier.verify(token).await?;
    if let Some(registrar) = &api.registrar {
        registrar.ensure_registered(&verified.cognito_user_id, token).await?;
    }
    Ok(verified)
}
