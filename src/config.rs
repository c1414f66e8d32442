//! The settings: flags and environment variables, validated once. A missing or wrong one is one line that names it.

use std::net::SocketAddr;

use axum::http::Uri;
use clap::Args;

/// Where the API listens and what it shows.
#[derive(Args, Clone, Debug)]
pub struct HttpSettings {
    /// Address of the API
    #[arg(long, env = "LISTEN_ADDR", value_name = "LISTEN_ADDR", default_value = "127.0.0.1:4567")]
    pub listen_addr: SocketAddr,
    /// Whether clients may introspect the schema [default: false in serve, true in dev]
    #[arg(long, env = "GRAPHQL_INTROSPECTION", value_name = "GRAPHQL_INTROSPECTION")]
    pub graphql_introspection: Option<bool>,
}

/// Where the metrics are.
#[derive(Args, Clone, Debug)]
pub struct MetricsSettings {
    /// Address of the metrics [default: 127.0.0.1:9464, or none where that is in use]
    #[arg(long, env = "METRICS_ADDR", value_name = "METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
}

/// Which table.
#[derive(Args, Clone, Debug)]
pub struct TableSettings {
    /// Name of the messages table; the consumer's own table has the same name with `-leases`
    #[arg(
        long,
        env = "DDB_MESSAGE_TABLE",
        value_name = "DDB_MESSAGE_TABLE",
        default_value = "cruddur-messages",
        value_parser = table_name
    )]
    pub ddb_message_table: String,
}

/// Which PostgreSQL.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// PostgreSQL with the users table: `postgresql://user:password@host:5432/database`
    #[arg(long, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// How many connections to PostgreSQL are kept at most
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        value_name = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_max_connections: u32,
}

/// Whose access tokens.
#[derive(Args, Clone, Debug)]
pub struct CognitoSettings {
    /// Cognito user pool whose access tokens are accepted, such as `eu-central-1_AbCdEfGhI`
    #[arg(long, env = "AWS_COGNITO_USER_POOL_ID", value_name = "AWS_COGNITO_USER_POOL_ID")]
    pub cognito_user_pool_id: Option<String>,
    /// App client whose access tokens are accepted
    #[arg(long, env = "AWS_COGNITO_USER_POOL_CLIENT_ID", value_name = "AWS_COGNITO_USER_POOL_CLIENT_ID")]
    pub cognito_user_pool_client_id: Option<String>,
    /// Where the user pool's keys are, when not at the pool's own address
    #[arg(long, env = "COGNITO_JWKS_URL", value_name = "COGNITO_JWKS_URL")]
    pub cognito_jwks_url: Option<String>,
}

/// A setting that is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not given, or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// Given, and not usable.
    #[error("{name} {problem}")]
    Wrong {
        /// The environment variable.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What tokens are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// The `iss` claim.
    pub issuer: String,
    /// The `client_id` claim.
    pub client_id: String,
    /// Where the keys are.
    pub jwks_url: String,
}

impl DatabaseSettings {
    /// The URL, which must be one of PostgreSQL.
    pub fn url(&self) -> Result<&str, SettingError> {
        let name = "DATABASE_URL";
        let url = given(name, &self.database_url)?;
        let known = url.starts_with("postgresql://") || url.starts_with("postgres://");
        let problem = "is not a PostgreSQL URL: it must begin with postgresql://";
        if known { Ok(url) } else { Err(SettingError::Wrong { name, problem }) }
    }
}

impl CognitoSettings {
    /// The issuer of the user pool. Source of the formats: "Verifying JSON web tokens", Cognito developer guide.
    pub fn issuer(&self) -> Result<TokenIssuer, SettingError> {
        let name = "AWS_COGNITO_USER_POOL_ID";
        let pool = given(name, &self.cognito_user_pool_id)?;
        let plain = |text: &str| !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
        let region = match pool.split_once('_') {
            Some((region, id)) if plain(region) && plain(id) => region,
            _ => return Err(SettingError::Wrong { name, problem: "is not of the form region_id" }),
        };
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

/// An address of HTTP with a host, or the error that names the setting.
pub fn checked_address<'a>(name: &'static str, url: &'a str) -> Result<&'a str, SettingError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let uri = host.chars().next().filter(|it| !matches!(it, ':' | '/')).and_then(|_| url.parse::<Uri>().ok());
    match uri.and_then(|uri| uri.host().map(str::len)) {
        Some(1..) => Ok(url),
        _ => Err(SettingError::Wrong { name, problem: "is not an address such as https://host/path" }),
    }
}

fn given<'a>(name: &'static str, value: &'a Option<String>) -> Result<&'a str, SettingError> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty()).ok_or(SettingError::Missing(name))
}

/// Naming rules of DynamoDB, with room for the `-leases` behind.
fn table_name(text: &str) -> Result<String, &'static str> {
    let fits = (3..=248).contains(&text.len());
    let plain = text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.'));
    if fits && plain {
        Ok(text.to_owned())
    } else {
        Err("a table's name has 3 to 248 of the characters a-z, A-Z, 0-9, _, - and .")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cognito(pool: &str, client: &str, jwks: &str) -> CognitoSettings {
        let some = |text: &str| Some(text.to_owned());
        CognitoSettings {
            cognito_user_pool_id: some(pool),
            cognito_user_pool_client_id: some(client),
            cognito_jwks_url: some(jwks),
        }
    }

    #[test]
    fn the_issuer_is_the_user_pools() {
        let issuer = cognito("eu-central-1_AbC", "client", "").issuer().expect("an issuer");
        assert_eq!(issuer.issuer, "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC");
        assert_eq!(issuer.jwks_url, format!("{}/.well-known/jwks.json", issuer.issuer));
        let elsewhere = cognito("eu-central-1_AbC", "client", "http://127.0.0.1:1/keys").issuer();
        assert_eq!(elsewhere.map(|it| it.jwks_url), Ok("http://127.0.0.1:1/keys".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_named() {
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
