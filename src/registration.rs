//! Registers users: adds a user of the user pool who is not in PostgreSQL yet, at the user's first request.
//!
//! The server reads the profile from the pool's user info endpoint, with the token of the user, so a user cannot get another
//! profile. A user who exists is never changed.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::environment::Environment;
use crate::running::Running;
use crate::users::cache::TtlCache;
use crate::users::{NewUser, Registered, Users, UsersError};

/// Maximum duration of a call to the user pool.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of cached failures of registrations.
const REFUSALS: usize = 10_000;
/// Maximum length of a handle and of a display name in characters.
const MAX_CHARS: usize = 256;

/// Registers users.
pub struct Registrar {
    http: reqwest::Client,
    users: Users,
    discovery_url: String,
    user_info_url: OnceCell<String>,
    /// The running calls, by `sub`. Concurrent requests of one user share one query and one registration.
    running: Running<String, Outcome>,
    /// Failures of the last few seconds, by `sub`, so that a user who cannot be registered does not cause a call for each
    /// request.
    refusals: TtlCache<String, RegistrationError>,
}

type Outcome = Result<(), RegistrationError>;

/// Why a user was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The profile has no `preferred_username`, or one that is blank or too long.
    #[error("Your account has no preferred username, so it cannot be registered.")]
    HandleMissing,
    /// Another user has the handle.
    #[error("Another user has your preferred username as handle. Choose another one.")]
    HandleTaken,
    /// The user pool does not allow reading the profile with the token.
    #[error("Your profile cannot be read with this access token. It needs the scopes `openid` and `profile`.")]
    ProfileRefused,
    /// A call to the user pool or to PostgreSQL failed. A later request can succeed.
    #[error("Your account cannot be registered at the moment. Try again later.")]
    Unavailable,
}

impl RegistrationError {
    /// The value of `extensions.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::HandleMissing => "handle_missing",
            Self::HandleTaken => "handle_taken",
            Self::ProfileRefused => "profile_refused",
            Self::Unavailable => "registration_unavailable",
        }
    }
}

/// The response of the user info endpoint. Source: OpenID Connect Core 1.0, section 5.1, and "The user info endpoint" in
/// Cognito's developer guide.
#[derive(Deserialize)]
struct Profile {
    sub: String,
    preferred_username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    /// OpenID Connect requires a boolean, but Cognito sends a string.
    #[serde(default)]
    email_verified: serde_json::Value,
}

#[derive(Deserialize)]
struct Discovery {
    userinfo_endpoint: String,
}

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the profile is of another user")]
    OtherUser,
    #[error("the access token does not permit to read the profile")]
    Refused,
}

impl Registrar {
    /// A registrar for users of `issuer`. Without `user_info_url`, the URL of the user info endpoint is read from the issuer's
    /// configuration.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(
        issuer: &str,
        user_info_url: Option<String>,
        users: Users,
        environment: Arc<dyn Environment>,
    ) -> reqwest::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            users,
            discovery_url: format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
            user_info_url: OnceCell::new_with(user_info_url),
            running: Running::default(),
            refusals: TtlCache::new("registration_refusals", REFUSALS, environment),
        })
    }

    /// Adds the user of the verified token `token` unless the user exists. `sub` is the claim `sub` of the token.
    ///
    /// # Errors
    /// The user does not exist and could not be added. If PostgreSQL does not respond, there is no error: the request fails
    /// later if it needs the user.
    pub async fn ensure_registered(&self, sub: &str, token: &str) -> Result<(), RegistrationError> {
        // The query is part of the shared call. A request whose query ended before the registration of another request, but
        // which continued after it, would register the user again.
        self.running.share(sub.to_owned(), || Box::pin(self.find_or_register(sub, token))).await
    }

    async fn find_or_register(&self, sub: &str, token: &str) -> Outcome {
        match self.users.by_cognito_user_id(sub).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            // Whether the user exists is unknown.
            Err(_) => return Ok(()),
        }
        let asked = self.refusals.now();
        if let Some(refusal) = self.refusals.get(sub) {
            return Err(refusal);
        }
        let outcome = match self.profile(sub, token).await {
            Ok(profile) => self.add(sub, profile).await,
            Err(ProfileError::Refused) => Err(RegistrationError::ProfileRefused),
            Err(error) => {
                tracing::warn!(error = crate::report(&error), "the profile of a new user could not be read");
                Err(RegistrationError::Unavailable)
            }
        };
        if let Err(refusal) = outcome {
            self.refusals.insert(sub.to_owned(), refusal, asked);
        }
        outcome
    }

    async fn add(&self, sub: &str, profile: Profile) -> Outcome {
        let usable = |text: &Option<String>| {
            let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty() && !text.contains('\0'))?;
            (text.chars().count() <= MAX_CHARS).then(|| text.to_owned())
        };
        let handle = usable(&profile.preferred_username).ok_or(RegistrationError::HandleMissing)?;
        let is_verified = profile.email_verified == true || profile.email_verified == "true";
        let user = NewUser {
            display_name: usable(&profile.name).unwrap_or_else(|| handle.clone()),
            email: usable(&profile.email).filter(|_| is_verified),
            handle,
            cognito_user_id: sub.to_owned(),
        };
        match self.users.register(&user).await {
            Ok(Registered::Added) => {
                tracing::info!("registered a user of the user pool");
                Ok(())
            }
            Ok(Registered::Existed) => Ok(()),
            Ok(Registered::HandleTaken) => Err(RegistrationError::HandleTaken),
            Ok(Registered::OtherValueTaken) => {
                tracing::warn!(
                    "a new user could not be registered: another user has the same value in a unique column, such as `email`"
                );
                Err(RegistrationError::Unavailable)
            }
            Err(error @ (UsersError::Unavailable(_) | UsersError::Refused(_))) => {
                tracing::warn!(error = crate::report(&error), "a new user could not be registered");
                Err(RegistrationError::Unavailable)
            }
        }
    }

    async fn profile(&self, sub: &str, token: &str) -> Result<Profile, ProfileError> {
        let discover = async || {
            let response = self.http.get(&self.discovery_url).send().await?.error_for_status()?;
            Ok::<_, reqwest::Error>(response.json::<Discovery>().await?.userinfo_endpoint)
        };
        let url = self.user_info_url.get_or_try_init(discover).await?;
        let response = self.http.get(url).bearer_auth(token).send().await?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(ProfileError::Refused);
        }
        let profile: Profile = response.error_for_status()?.json().await?;
        if profile.sub == sub { Ok(profile) } else { Err(ProfileError::OtherUser) }
    }
}
