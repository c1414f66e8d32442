//! Selects the DynamoDB endpoint of the commands for operators. An endpoint that is not local requires `--prod`.

use std::fmt;
use std::time::Duration;

use clap::Args;

use super::failure::{Endpoints, UsageError};
use super::output::Output;
use crate::aws::Aws;
use crate::config::{LocalHosts, TableSettings, checked_address, host_of};
use crate::messages_table::MessagesTable;

/// Endpoint if no setting names one.
const LOCAL_ENDPOINT: &str = "http://127.0.0.1:8000";
/// Maximum time for the request to AWS that returns the account.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(4);

/// The flag that allows access to AWS and to every other host that is not local.
#[derive(Args, Debug)]
pub struct Prod {
    /// Allow the command to use AWS and other hosts that are not local. The environment selects the account and region of
    /// AWS
    #[arg(long, global = true)]
    pub prod: bool,
    #[command(flatten)]
    local_hosts: LocalHosts,
}

impl Prod {
    /// Checks that a command may use the `host` that the setting `name` names.
    ///
    /// # Errors
    /// The host is not local, and the flag is missing.
    pub fn check(&self, name: &'static str, host: &str) -> Result<(), UsageError> {
        if self.prod || self.local_hosts.contains(host) {
            return Ok(());
        }
        Err(UsageError(format!(
            "{name} names the host {host}, which is not local: add --prod to use it, or add the host to LOCAL_HOSTS"
        )))
    }
}

/// Options of every command that uses the tables.
#[derive(Args, Debug)]
pub struct TableOptions {
    #[command(flatten)]
    pub prod: Prod,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub table: TableSettings,
}

/// The messages table and its endpoint.
pub struct Target {
    /// Clients of the endpoint.
    pub aws: Aws,
    /// Name of the messages table.
    pub table: String,
    /// Whether `--prod` is given, so that the endpoint may be AWS.
    pub is_prod: bool,
    endpoint: String,
    /// Setting that selects the endpoint.
    setting: &'static str,
    region: String,
    account: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, endpoint, region, account, .. } = self;
        write!(f, "table {table} at {endpoint}, region {region}, account {account}")
    }
}

impl Target {
    /// Selects the endpoint that the environment names. By default it is AWS with the flag of `prod`, and [`LOCAL_ENDPOINT`]
    /// without it.
    ///
    /// # Errors
    /// The endpoint is not local and the flag is missing, a setting is wrong, or there are no credentials.
    pub async fn reach(prod: &Prod, table: String) -> anyhow::Result<Self> {
        let named = endpoint_of(&["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]);
        let setting = named.as_ref().map(|(name, _)| *name);
        if !prod.prod {
            let url = local_endpoint(prod, named, || Ok(LOCAL_ENDPOINT.to_owned()))?;
            let aws = Aws::local_from_environment(&url).await?;
            let region = aws.region();
            let (setting, account) = (setting.unwrap_or("AWS_ENDPOINT_URL_DYNAMODB"), "local".to_owned());
            return Ok(Self { aws, table, is_prod: false, endpoint: url, setting, region, account });
        }
        let aws = Aws::from_environment().await?;
        let account = account(&aws).await?;
        let region = aws.region();
        let endpoint = named.map_or("AWS".to_owned(), |(_, url)| url);
        Ok(Self { aws, table, is_prod: true, endpoint, setting: setting.unwrap_or("AWS_REGION"), region, account })
    }

    /// Returns the messages table.
    pub fn messages_table(&self) -> MessagesTable {
        MessagesTable::new(self.aws.dynamodb.clone(), &self.table)
    }

    /// Returns the endpoints to name in errors.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            table: Some(self.table.clone()),
            dynamodb: Some(self.endpoint.clone()),
            dynamodb_setting: Some(self.setting),
            ..Endpoints::default()
        }
    }
}

/// Returns the first of the environment variables `names` that is set and not empty, and its value.
pub fn endpoint_of(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()).map(|url| (*name, url)))
}

/// Returns the local endpoint that a setting names, or the result of `otherwise` if there is none.
///
/// # Errors
/// The endpoint is not an address, its host requires the flag of `prod`, or `otherwise` fails.
pub fn local_endpoint(
    prod: &Prod,
    named: Option<(&'static str, String)>,
    otherwise: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    match named {
        Some((name, url)) => {
            checked_address(name, &url)?;
            prod.check(name, &host_of(&url).unwrap_or_default())?;
            Ok(url)
        }
        None => otherwise(),
    }
}

/// Returns the AWS account, or `unknown` if AWS does not respond in time.
///
/// # Errors
/// There are no credentials. This is checked before any other request is sent.
pub async fn account(aws: &Aws) -> anyhow::Result<String> {
    if let Some(account) = aws.credentials_account().await? {
        return Ok(account);
    }
    let account = tokio::time::timeout(ACCOUNT_TIMEOUT, aws.account()).await.ok().flatten();
    Ok(account.unwrap_or_else(|| "unknown".to_owned()))
}
