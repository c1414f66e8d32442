//! The settings: flags and environment variables, validated once. A missing or wrong one is one line that names it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use clap::Args;
use reqwest::Url;

use crate::graphql::documents::{DocumentLimits, TrustedDocuments};
use crate::http::HttpLimits;

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

/// What a request may be.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Bytes of a request's body at most
    #[arg(long, env = "MAX_BODY_BYTES", value_name = "MAX_BODY_BYTES", default_value_t = HttpLimits::DEFAULT.body as u32,
        value_parser = clap::value_parser!(u32).range(1_024..))]
    pub max_body_bytes: u32,
    /// Requests under way at most; more are answered 503
    #[arg(long, env = "MAX_REQUESTS_IN_FLIGHT", value_name = "MAX_REQUESTS_IN_FLIGHT", default_value_t = HttpLimits::DEFAULT.in_flight as u32,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_requests_in_flight: u32,
    /// Milliseconds that a request may take
    #[arg(long, env = "REQUEST_TIMEOUT_MS", value_name = "REQUEST_TIMEOUT_MS", default_value_t = HttpLimits::DEFAULT.time.as_millis() as u32,
        value_parser = clap::value_parser!(u32).range(100..))]
    pub request_timeout_ms: u32,
    /// Messages that a user may send in a minute, in each process; 0 is no limit
    #[arg(long, env = "MESSAGES_PER_MINUTE", value_name = "MESSAGES_PER_MINUTE", default_value_t = 600)]
    pub messages_per_minute: u32,
    /// Bytes of a document at most
    #[arg(long, env = "GRAPHQL_MAX_DOCUMENT_BYTES", value_name = "GRAPHQL_MAX_DOCUMENT_BYTES",
        default_value_t = DocumentLimits::DEFAULT.bytes as u32, value_parser = clap::value_parser!(u32).range(100..))]
    pub graphql_max_document_bytes: u32,
    /// Tokens of a document at most
    #[arg(long, env = "GRAPHQL_MAX_TOKENS", value_name = "GRAPHQL_MAX_TOKENS", default_value_t = DocumentLimits::DEFAULT.tokens as u32,
        value_parser = clap::value_parser!(u32).range(10..))]
    pub graphql_max_tokens: u32,
    /// Fields and fragments of a document at most, once its fragments are written out
    #[arg(long, env = "GRAPHQL_MAX_SELECTIONS", value_name = "GRAPHQL_MAX_SELECTIONS", default_value_t = DocumentLimits::DEFAULT.selections as u32,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub graphql_max_selections: u32,
    /// Fields nested in each other at most
    #[arg(long, env = "GRAPHQL_MAX_DEPTH", value_name = "GRAPHQL_MAX_DEPTH", default_value_t = DocumentLimits::DEFAULT.depth as u32,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub graphql_max_depth: u32,
    /// Aliases of a document at most
    #[arg(long, env = "GRAPHQL_MAX_ALIASES", value_name = "GRAPHQL_MAX_ALIASES", default_value_t = DocumentLimits::DEFAULT.aliases as u32)]
    pub graphql_max_aliases: u32,
    /// Directives of a document at most
    #[arg(long, env = "GRAPHQL_MAX_DIRECTIVES", value_name = "GRAPHQL_MAX_DIRECTIVES", default_value_t = DocumentLimits::DEFAULT.directives as u32)]
    pub graphql_max_directives: u32,
    /// Cost of an operation at most: 1 a field, 10 a field that reads a store, times the sizes of the pages it stands in
    #[arg(long, env = "GRAPHQL_MAX_COST", value_name = "GRAPHQL_MAX_COST", default_value_t = DocumentLimits::DEFAULT.cost,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub graphql_max_cost: u64,
    /// Origins whose pages may use the API from a browser, such as `https://app.example.com`, separated by commas
    #[arg(long, env = "CORS_ORIGINS", value_name = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// File with the only documents that are executed, by their names: {"name": "document", …}
    #[arg(long, env = "TRUSTED_DOCUMENTS", value_name = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}

impl LimitSettings {
    /// The limits of requests.
    pub fn http(&self) -> Result<HttpLimits, SettingError> {
        let problem =
            "is a list of origins such as https://app.example.com, as browsers write them: no path, no default port";
        let wrong = || SettingError::wrong("CORS_ORIGINS", problem);
        let origin = |text: &String| {
            let text = text.trim();
            checked_address("CORS_ORIGINS", text).map_err(|_| wrong())?;
            // Browsers leave the default port out, and write lower case: nothing else would ever match.
            let as_sent = Url::parse(text).map_err(|_| wrong())?.origin().ascii_serialization();
            if as_sent == text { HeaderValue::from_str(text).map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let origins =
            self.cors_origins.iter().filter(|it| !it.trim().is_empty()).map(origin).collect::<Result<_, _>>()?;
        Ok(HttpLimits {
            body: self.max_body_bytes as usize,
            in_flight: self.max_requests_in_flight as usize,
            time: Duration::from_millis(self.request_timeout_ms.into()),
            origins,
        })
    }

    /// The limits of documents.
    pub fn documents(&self) -> DocumentLimits {
        DocumentLimits {
            bytes: self.graphql_max_document_bytes as usize,
            tokens: self.graphql_max_tokens as usize,
            selections: self.graphql_max_selections as usize,
            depth: self.graphql_max_depth as usize,
            aliases: self.graphql_max_aliases as usize,
            directives: self.graphql_max_directives as usize,
            cost: self.graphql_max_cost,
        }
    }

    /// The manifest, read.
    pub fn manifest(&self) -> Result<Option<TrustedDocuments>, SettingError> {
        let Some(path) = &self.trusted_documents else { return Ok(None) };
        let problem =
            |problem: String| SettingError::wrong("TRUSTED_DOCUMENTS", format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        TrustedDocuments::read(&text).map(Some).map_err(problem)
    }
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
        global = true,
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
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// How many connections to PostgreSQL are kept at most
    #[arg(
        long,
        env = "DATABASE_MAX_CONNECTIONS",
        global = true,
        value_name = "DATABASE_MAX_CONNECTIONS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_max_connections: u32,
}

/// Whose users.
#[derive(Args, Clone, Debug)]
pub struct UserPoolSettings {
    /// Cognito user pool of the users, such as `eu-central-1_AbCdEfGhI`
    #[arg(long, env = "AWS_COGNITO_USER_POOL_ID", value_name = "AWS_COGNITO_USER_POOL_ID")]
    pub cognito_user_pool_id: Option<String>,
}

/// Whose access tokens.
#[derive(Args, Clone, Debug)]
pub struct CognitoSettings {
    #[command(flatten)]
    pub user_pool: UserPoolSettings,
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
    /// Nothing says who asks AWS.
    #[error("there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoCredentials,
    /// Given, and not usable.
    #[error("{name} {problem}")]
    Wrong {
        /// The environment variable.
        name: &'static str,
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },
}

impl SettingError {
    /// What is given cannot be used.
    pub fn wrong(name: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Wrong { name, problem: problem.into() }
    }
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
        if known { Ok(url) } else { Err(SettingError::wrong(name, problem)) }
    }
}

impl UserPoolSettings {
    /// The pool's id, and the region that it begins with.
    pub fn id_and_region(&self) -> Result<(&str, &str), SettingError> {
        let name = "AWS_COGNITO_USER_POOL_ID";
        let pool = given(name, &self.cognito_user_pool_id)?;
        let plain = |text: &str| !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
        match pool.split_once('_') {
            Some((region, id)) if plain(region) && plain(id) => Ok((pool, region)),
            _ => Err(SettingError::wrong(name, "is not of the form region_id")),
        }
    }
}

impl CognitoSettings {
    /// The issuer of the user pool. Source of the formats: "Verifying JSON web tokens", Cognito developer guide.
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

/// An address of HTTP with a host, or the error that names the setting.
pub fn checked_address<'a>(name: &'static str, url: &'a str) -> Result<&'a str, SettingError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let uri = host.chars().next().filter(|it| !matches!(it, ':' | '/')).and_then(|_| url.parse::<Uri>().ok());
    match uri.and_then(|uri| uri.host().map(str::len)) {
        // The one knows what an address of an API is, the other what a port is.
        Some(1..) if Url::parse(url).is_ok() => Ok(url),
        _ => Err(SettingError::wrong(name, "is not an address such as https://host/path")),
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
            user_pool: UserPoolSettings { cognito_user_pool_id: some(pool) },
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

    #[test]
    fn addresses_and_origins_are_what_can_be_reached_and_matched() {
        for good in ["http://localhost:8000", "https://host/path", "http://[::1]:80/x", "https://host:65535"] {
            assert!(checked_address("URL", good).is_ok(), "{good}");
        }
        for bad in
            ["", "host", "ftp://host", "http://", "http://:80", "http://host:99999", "http://host:x", "https:///path"]
        {
            assert!(checked_address("URL", bad).is_err(), "{bad}");
        }
        let checked = |text: &str| {
            let arguments = ["serve", "--cors-origins", text];
            #[derive(clap::Parser)]
            struct Command {
                #[command(flatten)]
                limits: LimitSettings,
            }
            <Command as clap::Parser>::try_parse_from(arguments).expect("arguments").limits.http()
        };
        for good in ["https://app.example.com", "http://localhost:3000, https://a.example:8443"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://a/",
            "https://a/x",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://A",
            "https://a:443",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
