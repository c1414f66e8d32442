//! Clients of DynamoDB and its streams, with time limits and retries chosen for a server that people wait for.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;

use crate::config::{SettingError, checked_address};

/// DynamoDB answers in milliseconds, or something is wrong: a second for the connection, two for an answer, and what all
/// tries may take together stays below what a client waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// With the SDK's exponential backoff and jitter between them.
const MAX_ATTEMPTS: u32 = 3;

/// Both clients, for one endpoint and account.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Their streams.
    pub streams: aws_sdk_dynamodbstreams::Client,
}

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
}

impl Aws {
    /// Clients as the environment, the profile or the machine's role configure them.
    pub async fn from_environment() -> Result<Self, SettingError> {
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS"] {
            if let Ok(url) = std::env::var(name) {
                checked_address(name, &url)?;
            }
        }
        let config = loader().load().await;
        let region = config.region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
        if region.is_empty() {
            return Err(SettingError::Missing("AWS_REGION"));
        }
        if !region.chars().all(|it| it.is_ascii_alphanumeric() || it == '-') {
            return Err(SettingError::Wrong { name: "AWS_REGION", problem: "is not a region such as eu-central-1" });
        }
        Ok(Self::of(&config, std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok()))
    }

    /// Clients for a local engine at `url`, which takes any credentials.
    pub async fn local(url: &str) -> Self {
        let credentials = Credentials::new("local", "local", None, None, "local");
        let config =
            loader().endpoint_url(url).region(Region::new("us-east-1")).credentials_provider(credentials).load().await;
        Self::of(&config, Some(url.to_owned()))
    }

    /// An engine that is not AWS serves streams where it serves tables; AWS has an address for each.
    fn of(config: &SdkConfig, tables_url: Option<String>) -> Self {
        let mut streams = aws_sdk_dynamodbstreams::config::Builder::from(config);
        let own_url = std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB_STREAMS").is_some();
        if let Some(url) = tables_url.filter(|url| !own_url && !is_aws(url)) {
            streams = streams.endpoint_url(url);
        }
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(streams.build()),
        }
    }
}

/// Whether an endpoint is AWS itself.
pub fn is_aws(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url).split(['/', ':']).next().unwrap_or_default();
    [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    #[test]
    fn aws_is_told_from_local_engines() {
        for url in
            ["https://dynamodb.eu-central-1.amazonaws.com", "https://vpce-1.dynamodb.eu-central-1.amazonaws.com:443/"]
        {
            assert!(super::is_aws(url), "{url}");
        }
        for url in ["http://127.0.0.1:8000", "http://localhost:8000/", "http://amazonaws.com.evil.example"] {
            assert!(!super::is_aws(url), "{url}");
        }
    }
}
