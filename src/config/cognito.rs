//! Settings of the Amazon Cognito user pool.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::setting::{SettingError, checked_address, given};

/// Names the user pool.
#[derive(Args, Clone, Debug)]
pub struct UserPoolSettings {
    /// Id of the Cognito user pool, such as `eu-central-1_AbCdEfGhI`
    #[arg(long, env = "AWS_COGNITO_USER_POOL_ID", value_name = "AWS_COGNITO_USER_POOL_ID")]
    pub cognito_user_pool_id: Option<String>,
}

/// Settings that decide which access tokens are accepted.
#[derive(Args, Clone, Debug)]
pub struct CognitoSettings {
    #[command(flatten)]
    pub user_pool: UserPoolSettings,
    /// Id of the app client whose access tokens are accepted
    #[arg(long, env = "AWS_COGNITO_USER_POOL_CLIENT_ID", value_name = "AWS_COGNITO_USER_POOL_CLIENT_ID")]
    pub cognito_user_pool_client_id: Option<String>,
    /// Claim `iss` of the accepted access tokens [default: the address that Cognito documents for the user pool]
    #[arg(long, env = "COGNITO_ISSUER", value_name = "COGNITO_ISSUER")]
    pub cognito_issuer: Option<String>,
    /// URL of the user pool's public keys [default: the issuer followed by /.well-known/jwks.json]
    #[arg(long, env = "COGNITO_JWKS_URL", value_name = "COGNITO_JWKS_URL")]
    pub cognito_jwks_url: Option<String>,
    /// Time in seconds for which a public key stays valid after the user pool no longer publishes it
    #[arg(
        long,
        env = "JWKS_GRACE_SECONDS",
        value_name = "JWKS_GRACE_SECONDS",
        default_value_t = TokenIssuer::KEY_GRACE.as_secs(),
        value_parser = clap::value_parser!(u64).range(..=MAX_GRACE_SECONDS)
    )]
    pub jwks_grace_seconds: u64,
}

/// Settings of the registration of users.
#[derive(Args, Clone, Debug)]
pub struct RegistrationSettings {
    /// Whether the first request of a user of the user pool adds the user to PostgreSQL, with the profile of the user pool
    #[arg(long, env = "REGISTER_USERS", value_name = "REGISTER_USERS", default_value_t = false, action = ArgAction::Set)]
    pub register_users: bool,
    /// URL of the user pool's user info endpoint [default: the one that the issuer's configuration names]
    #[arg(long, env = "COGNITO_USER_INFO_URL", value_name = "COGNITO_USER_INFO_URL")]
    pub cognito_user_info_url: Option<String>,
}

impl RegistrationSettings {
    /// Returns the URL of the user info endpoint, or `None` if it is not set.
    ///
    /// # Errors
    /// The URL is not an HTTP address.
    pub fn user_info_url(&self) -> Result<Option<String>, SettingError> {
        match given("COGNITO_USER_INFO_URL", &self.cognito_user_info_url) {
            Err(_) => Ok(None),
            Ok(url) => Ok(Some(checked_address("COGNITO_USER_INFO_URL", url)?.to_owned())),
        }
    }
}

/// Maximum of `JWKS_GRACE_SECONDS`: a week. With a longer time, removing a key from the user pool would have no effect.
const MAX_GRACE_SECONDS: u64 = 7 * 24 * 3600;

/// Issuer of the access tokens that the API accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// Required value of the claim `iss`.
    pub issuer: String,
    /// Required value of the claim `client_id`.
    pub client_id: String,
    /// URL of the issuer's public keys, a JSON Web Key Set.
    pub jwks_url: String,
    /// Time for which a key stays valid after the issuer has removed it from the key set.
    pub key_grace: Duration,
}

impl TokenIssuer {
    /// Default of [`TokenIssuer::key_grace`]: the default lifetime of an access token of Cognito.
    pub const KEY_GRACE: Duration = Duration::from_secs(3600);
}

impl UserPoolSettings {
    /// Returns the id of the user pool, and the AWS region that the id begins with.
    ///
    /// # Errors
    /// The setting is missing or does not have the form REGION_ID.
    pub fn id_and_region(&self) -> Result<(&str, &str), SettingError> {
        let name = "AWS_COGNITO_USER_POOL_ID";
        let pool = given(name, &self.cognito_user_pool_id)?;
        let plain = |text: &str| !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
        match pool.split_once('_') {
            Some((region, id)) if plain(region) && plain(id) => Ok((pool, region)),
            _ => Err(SettingError::wrong(
                name,
                format!("must have the form REGION_ID, such as eu-central-1_AbCdEfGhI, got `{pool}`"),
            )),
        }
    }
}

impl CognitoSettings {
    /// Returns the issuer of the user pool. The formats are those of "Verifying JSON web tokens" in Cognito's
    /// developer guide.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn issuer(&self) -> Result<TokenIssuer, SettingError> {
        let (pool, region) = self.user_pool.id_and_region()?;
        let issuer = match given("COGNITO_ISSUER", &self.cognito_issuer) {
            Err(_) => format!("https://cognito-idp.{region}.{}/{pool}", domain(region)),
            Ok(issuer) => checked_issuer(issuer)?.to_owned(),
        };
        let client_id = given("AWS_COGNITO_USER_POOL_CLIENT_ID", &self.cognito_user_pool_client_id)?.to_owned();
        let jwks_url = match given("COGNITO_JWKS_URL", &self.cognito_jwks_url) {
            Err(_) => format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
            Ok(url) => checked_address("COGNITO_JWKS_URL", url)?.to_owned(),
        };
        Ok(TokenIssuer { issuer, client_id, jwks_url, key_grace: Duration::from_secs(self.jwks_grace_seconds) })
    }
}

/// Returns the domain of the AWS partition of a region.
fn domain(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ => "amazonaws.com",
    }
}

/// Returns `issuer` if it is an address without query, fragment and user name, to which the path of the keys can be appended.
fn checked_issuer(issuer: &str) -> Result<&str, SettingError> {
    let name = "COGNITO_ISSUER";
    checked_address(name, issuer)?;
    if issuer.contains(['?', '#', '@']) {
        return Err(SettingError::wrong(name, "must be an address without a query, a fragment and a user name"));
    }
    Ok(issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cognito(pool: &str, client: &str, jwks: &str) -> CognitoSettings {
        let some = |text: &str| Some(text.to_owned());
        CognitoSettings {
            user_pool: UserPoolSettings { cognito_user_pool_id: some(pool) },
            cognito_user_pool_client_id: some(client),
            cognito_issuer: None,
            cognito_jwks_url: some(jwks),
            jwks_grace_seconds: 60,
        }
    }

    #[test]
    fn the_issuer_is_derived_from_the_user_pool() {
        let issuer = cognito("eu-central-1_AbC", "client", "").issuer().expect("an issuer");
        assert_eq!(issuer.issuer, "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC");
        assert_eq!(issuer.jwks_url, format!("{}/.well-known/jwks.json", issuer.issuer));
        let elsewhere = cognito("eu-central-1_AbC", "client", "http://127.0.0.1:1/keys").issuer();
        assert_eq!(elsewhere.map(|it| it.jwks_url), Ok("http://127.0.0.1:1/keys".to_owned()));
        for (pool, issuer) in [
            ("cn-north-1_AbC", "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC"),
            ("eusc-de-east-1_AbC", "https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_AbC"),
        ] {
            assert_eq!(cognito(pool, "client", "").issuer().map(|it| it.issuer), Ok(issuer.to_owned()));
        }
    }

    #[test]
    fn the_issuer_may_be_set_and_is_used_as_it_is() {
        let issued_by = |issuer: &str| {
            let settings = cognito("eu-central-1_AbC", "client", "");
            CognitoSettings { cognito_issuer: Some(issuer.to_owned()), ..settings }.issuer()
        };
        for (issuer, keys) in [
            ("https://idp.example/pool", "https://idp.example/pool/.well-known/jwks.json"),
            ("http://127.0.0.1:9229/pool/", "http://127.0.0.1:9229/pool/.well-known/jwks.json"),
        ] {
            let found = issued_by(issuer).expect(issuer);
            assert_eq!((found.issuer.as_str(), found.jwks_url.as_str()), (issuer, keys));
            assert_eq!(found.key_grace, Duration::from_secs(60));
        }
        for wrong in
            ["idp.example/pool", "https://", "https://idp.example/?a", "https://idp.example/#a", "https://u@h/"]
        {
            let error = issued_by(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("COGNITO_ISSUER must be an address"), "{error}");
        }
        assert!(issued_by(" ").is_ok_and(|it| it.issuer.contains("eu-central-1_AbC")), "empty means the default");
    }

    #[test]
    fn an_error_names_the_setting() {
        for (settings, name) in [
            (cognito("", "client", ""), "AWS_COGNITO_USER_POOL_ID"),
            (cognito("nonsense", "client", ""), "AWS_COGNITO_USER_POOL_ID"),
            (cognito("eu_../x", "client", ""), "AWS_COGNITO_USER_POOL_ID"),
            (cognito("eu-central-1_AbC", " ", ""), "AWS_COGNITO_USER_POOL_CLIENT_ID"),
            (cognito("eu-central-1_AbC", "client", "keys.json"), "COGNITO_JWKS_URL"),
            (cognito("eu-central-1_AbC", "client", "http://"), "COGNITO_JWKS_URL"),
            (cognito("eu-central-1_AbC", "client", "https:///keys.json"), "COGNITO_JWKS_URL"),
        ] {
            let error = settings.issuer().expect_err(name).to_string();
            assert!(error.starts_with(name) && error.lines().count() == 1, "{error}");
        }
    }
}
