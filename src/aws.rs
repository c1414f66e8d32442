//! Clients of DynamoDB and DynamoDB Streams, with time limits and retries for an interactive server.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{
    ConfigBag, Credentials, Intercept, ProvideCredentials, RuntimeComponents, SharedHttpClient, SharedInterceptor,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use chrono::{DateTime, Utc};

use crate::config::{SettingError, checked_address, host_of};
use crate::metrics;

/// DynamoDB usually responds in milliseconds. The limits are 1 s for a connection and 2 s for a try. All tries together take less
/// time than a request may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The SDK waits between the tries, with exponential backoff and jitter.
const MAX_ATTEMPTS: u32 = 3;

/// The clients for one endpoint and account.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Client of the tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Client of the streams.
    pub streams: aws_sdk_dynamodbstreams::Client,
    config: SdkConfig,
}

/// Region and credentials for a local engine, if none are configured.
const LOCAL_REGION: &str = "us-east-1";
const LOCAL_KEY: &str = "local";

/// One HTTP client for all SDK clients: each HTTP client would load the certificates of the machine.
static HTTP: LazyLock<SharedHttpClient> =
    LazyLock::new(|| Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https());

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(HTTP.clone())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        )
        // The time limit of a try also covers a slow response.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
}

fn checked_region(region: &str) -> Result<(), SettingError> {
    if region.is_empty() {
        return Err(SettingError::Missing("AWS_REGION"));
    }
    if !region.chars().all(|it| it.is_ascii_alphanumeric() || it == '-') {
        return Err(SettingError::wrong("AWS_REGION", "must be a region such as eu-central-1"));
    }
    Ok(())
}

impl Aws {
    /// Clients that the environment, the profile or the role of the machine configures.
    pub async fn from_environment() -> Result<Self, SettingError> {
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS"] {
            if let Ok(url) = std::env::var(name) {
                checked_address(name, &url)?;
            }
        }
        let config = loader().load().await;
        checked_region(config.region().map(|region| region.as_ref()).unwrap_or_default())?;
        Ok(Self::of(&config, std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok()))
    }

    /// Clients for a local engine at `url`, which accepts any credentials.
    pub async fn local(url: &str) -> Self {
        let credentials = Credentials::new(LOCAL_KEY, LOCAL_KEY, None, None, "local");
        Self::local_as(url, LOCAL_REGION.to_owned(), credentials).await
    }

    /// Clients for a local engine at `url`, with the region and the access key of the environment, if there are any: some
    /// engines have separate tables for each of them.
    pub async fn local_from_environment(url: &str) -> Result<Self, SettingError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).unwrap_or_else(|| LOCAL_REGION.to_owned());
        checked_region(&region)?;
        let key = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY"));
        let (id, secret) = key.unwrap_or_else(|| (LOCAL_KEY.to_owned(), LOCAL_KEY.to_owned()));
        let credentials = Credentials::new(id, secret, set("AWS_SESSION_TOKEN"), None, "local");
        Ok(Self::local_as(url, region, credentials).await)
    }

    async fn local_as(url: &str, region: String, credentials: Credentials) -> Self {
        let loader = loader().endpoint_url(url).region(Region::new(region)).credentials_provider(credentials);
        let config = loader.load().await;
        Self::of(&config, Some(url.to_owned()))
    }

    /// The region.
    pub fn region(&self) -> String {
        self.config.region().map(|region| region.as_ref().to_owned()).unwrap_or_default()
    }

    /// The account of the credentials, if they contain it. It is unknown while the credentials are unavailable.
    ///
    /// # Errors
    /// There are no credentials in any source.
    pub async fn credentials_account(&self) -> Result<Option<String>, SettingError> {
        let provider = self.config.credentials_provider().ok_or(SettingError::NoCredentials)?;
        match provider.provide_credentials().await {
            Ok(credentials) => Ok(credentials.account_id().map(|account| account.as_str().to_owned())),
            Err(CredentialsError::CredentialsNotLoaded(_)) => Err(SettingError::NoCredentials),
            Err(error) => {
                tracing::warn!(error = crate::report(&error), "the AWS credentials are unavailable at the moment");
                Ok(None)
            }
        }
    }

    /// The account according to AWS STS. `None` if STS does not respond.
    pub async fn account(&self) -> Option<String> {
        aws_sdk_sts::Client::new(&self.config).get_caller_identity().send().await.ok()?.account
    }

    /// A client for the user pools of `region`.
    pub fn cognito(&self, region: &str) -> aws_sdk_cognitoidentityprovider::Client {
        let config = aws_sdk_cognitoidentityprovider::config::Builder::from(&self.config);
        aws_sdk_cognitoidentityprovider::Client::from_conf(config.region(Region::new(region.to_owned())).build())
    }

    /// A local engine serves streams and tables at one address. AWS has an address for each.
    fn of(config: &SdkConfig, tables_url: Option<String>) -> Self {
        let mut streams = aws_sdk_dynamodbstreams::config::Builder::from(config);
        let own_url = std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB_STREAMS").is_some();
        if let Some(url) = tables_url.filter(|url| !own_url && !is_aws(url)) {
            streams = streams.endpoint_url(url);
        }
        let mut tables = aws_sdk_dynamodb::config::Builder::from(config);
        tables.push_interceptor(SharedInterceptor::permanent(ClockWatch::default()));
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(tables.build()),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
            config: config.clone(),
        }
    }
}

/// Maximum time of a response on its way, in seconds, for which no clock difference is reported.
const UNDER_WAY: f64 = 0.25;

/// Compares the local clock, which decides `created_at`, with the `Date` header of DynamoDB, at most once in each second. The value
/// is the last second in which it did.
#[derive(Debug, Default)]
struct ClockWatch(AtomicI64);

impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "ClockWatch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = Utc::now();
        if self.0.swap(now.timestamp(), Ordering::Relaxed) == now.timestamp() {
            return Ok(());
        }
        let date = context.response().headers().get("date").and_then(|it| DateTime::parse_from_rfc2822(it).ok());
        if let Some(date) = date {
            // The header has whole seconds, so a difference of less than a second is not a difference. The first response in a
            // second was mostly sent in the second before.
            let ahead = (now - date.to_utc()).as_seconds_f64();
            metrics::clock_ahead(if (0.0..1.0 + UNDER_WAY).contains(&ahead) { 0.0 } else { ahead });
        }
        Ok(())
    }
}

/// The domains of the partitions of AWS, and those of their dual-stack endpoints.
const AWS_DOMAINS: [&str; 6] = [
    ".amazonaws.com",
    ".api.aws",
    ".amazonaws.com.cn",
    ".api.amazonwebservices.com.cn",
    ".amazonaws.eu",
    ".api.amazonwebservices.eu",
];

/// Whether an endpoint of DynamoDB is one of AWS, where the streams have another endpoint. This does not decide what a command
/// may use: see [`LocalHosts`](crate::config::LocalHosts).
fn is_aws(url: &str) -> bool {
    let host = host_of(url).unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    AWS_DOMAINS.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    #[test]
    fn aws_is_told_from_local_engines() {
        for url in [
            "https://dynamodb.eu-central-1.amazonaws.com",
            "https://vpce-1.dynamodb.eu-central-1.vpce.amazonaws.com:443/",
            "https://DynamoDB.eu-central-1.AmazonAWS.com.",
            "https://dynamodb.eusc-de-east-1.amazonaws.eu",
            "https://dynamodb.cn-north-1.api.amazonwebservices.com.cn",
        ] {
            assert!(super::is_aws(url), "{url}");
        }
        for url in ["http://127.0.0.1:8000", "http://localhost:8000/", "http://amazonaws.com.evil.example"] {
            assert!(!super::is_aws(url), "{url}");
        }
    }
}
