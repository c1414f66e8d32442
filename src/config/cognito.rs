//! Settings of the Amazon Cognito user pool.

use clap::Args;

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
    /// URL of the user pool's public keys [default: the address that Cognito documents for the pool]
    #[arg(long, env = "COGNITO_JWKS_URL", value_name = "COGNITO_JWKS_URL")]
    pub cognito_jwks_url: Option<String>,
}

/// Issuer of the access tokens that the API accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// Required value of the claim `iss`.
    pub issuer: String,
    /// Required value of the claim `client_id`.
    pub client_id: String,
    /// URL of the issuer's public keys, a JSON Web Key Set.
    pub jwks_url: String,
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
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let issuer = format!("https://cognito-idp.{region}.{domain}/{pool}");
        let client_id = given("AWS_COGNITO_USER_POOL_CLIENT_ID", &self.cognito_user_pool_client_id)?.to_owned();
        let jwks_url = match given("COGNITO_JWKS_URL", &self.cognito_jwks_url) {
            Err(_) => format!("{issuer}/.well-known/jwks.json"),
            Ok(url) => checked_address("COGNITO_JWKS_URL", url)?.to_owned(),
        };
        Ok(TokenIssuer { issuer, client_id, jwks_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cognito(pool: &str, client: &str, jwks: &str) -> CognitoSettings {
        let some = |text: &str| Some(text.to_owned());
        CognitoSettings {
            user_pool: UserPoolSettings { cognito_user_pool_id: some(pool) },
            cognito_user_pool_client_id: some(client),
            cognito_jwks_url: some(jwks),
        }
    }

    #[test]
    fn the_issuer_is_derived_from_the_user_pool() {
        let issuer = cognito("eu-central-1_AbC", "client", "").issuer().expect("an issuer");
        assert_eq!(issuer.issuer, "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC");
        assert_eq!(issuer.jwks_url, format!("{}/.well-known/jwks.json", issuer.issuer));
        let elsewhere = cognito("eu-central-1_AbC", "client", "http://127.0.0.1:1/keys").issuer();
        assert_eq!(elsewhere.map(|it| it.jwks_url), Ok("http://127.0.0.1:1/keys".to_owned()));
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
