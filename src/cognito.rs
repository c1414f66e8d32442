//! Amazon Cognito's user pool, as far as an operator needs it.

use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cognitoidentityprovider::types::UserType;

/// The end of a call that did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CognitoError {
    /// No answer came.
    #[error("Cognito cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Cognito will not do this.
    #[error("Cognito refused")]
    Refused {
        /// Cognito's error code.
        code: String,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A user lacks what every user of a pool has.
    #[error("the user {0} of the pool has no sub")]
    Incomplete(String),
}

/// A user of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CognitoUser {
    /// What a token has as its `sub`.
    pub sub: String,
    /// The name they sign in with.
    pub username: String,
    /// What they call themselves; they can set it to anything.
    pub preferred_username: Option<String>,
}

/// All users of a pool, page after page. Attributes are not selected: Cognito refuses to select one that a user lacks.
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
    Ok(CognitoUser { sub, username, preferred_username: attribute("preferred_username") })
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
