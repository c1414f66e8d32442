//! The users of an Amazon Cognito user pool, for the operator's commands.

use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentityprovider::types::{UserStatusType, UserType};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CognitoError {
    /// There was no response.
    #[error("Cognito cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Cognito rejected the request.
    #[error("Cognito rejected the request")]
    Refused {
        /// Cognito's error code.
        code: String,
        /// The error of the SDK.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A user has no `sub`, which every user of a pool has.
    #[error("the user {0} of the pool has no `sub`")]
    Incomplete(String),
}

/// A user of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CognitoUser {
    /// The claim `sub` of their tokens.
    pub sub: String,
    /// The name with which they sign in.
    pub username: String,
    /// The handle that they claim. They can set it to anything.
    pub preferred_username: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether they have proved that they receive e-mail at this address.
    pub email_verified: bool,
    /// Status of the account, such as `CONFIRMED` or `UNCONFIRMED`.
    pub status: String,
    /// Whether they can sign in. An administrator can disable an account.
    pub enabled: bool,
}

impl CognitoUser {
    /// Whether they have confirmed their registration.
    pub fn is_confirmed(&self) -> bool {
        self.status == UserStatusType::Confirmed.as_str()
    }
}

/// All users of a pool. All attributes are requested, because Cognito rejects the selection of an attribute that a user lacks.
pub async fn users_of_pool(client: &Client, pool: &str) -> Result<Vec<CognitoUser>, CognitoError> {
    let mut users = Vec::new();
    let mut pages = client.list_users().user_pool_id(pool).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(classify)?;
        for user in page.users.unwrap_or_default() {
            users.push(read(&user)?);
        }
    }
    Ok(users)
}

fn read(user: &UserType) -> Result<CognitoUser, CognitoError> {
    let attribute = |name: &str| {
        let found = user.attributes().iter().find(|attribute| attribute.name() == name);
        found.and_then(|attribute| attribute.value()).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let username = user.username().unwrap_or_default().to_owned();
    let sub = attribute("sub").ok_or_else(|| CognitoError::Incomplete(username.clone()))?;
    Ok(CognitoUser {
        sub,
        username,
        preferred_username: attribute("preferred_username"),
        email: attribute("email"),
        email_verified: attribute("email_verified").is_some_and(|it| it.eq_ignore_ascii_case("true")),
        status: user.user_status().map_or("UNKNOWN", UserStatusType::as_str).to_owned(),
        enabled: user.enabled(),
    })
}

fn classify<E>(error: SdkError<E, aws_sdk_cognitoidentityprovider::config::http::HttpResponse>) -> CognitoError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error.code().map(str::to_owned) {
        Some(code) => CognitoError::Refused { code, source: Box::new(error) },
        None => CognitoError::Unreachable(Box::new(error)),
    }
}
