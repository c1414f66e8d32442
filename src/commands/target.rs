//! Which DynamoDB the operator's commands reach: a local one, and AWS only when told to.

use std::fmt;
use std::time::Duration;

use clap::Args;

use super::failure::{Place, Refused};
use super::output::Output;
use crate::aws::{Aws, is_aws};
use crate::config::stores::TableSettings;
use crate::messages_table::MessagesTable;

/// The endpoint of a local engine where nothing else is said.
const LOCAL_ENDPOINT: &str = "http://127.0.0.1:8000";
/// How long AWS may take to say whose account it is.
const ACCOUNT_PATIENCE: Duration = Duration::from_secs(4);

/// The flag that opens the way to AWS.
#[derive(Args, Clone, Copy, Debug)]
pub struct Prod {
    /// Reach AWS, as the environment configures it, and not a local engine
    #[arg(long, global = true)]
    pub prod: bool,
}

/// What every command on the tables is told.
#[derive(Args, Debug)]
pub struct TableOptions {
    #[command(flatten)]
    pub prod: Prod,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub table: TableSettings,
}

/// A table, and where it is.
pub struct Target {
    /// The clients.
    pub aws: Aws,
    /// The messages table's name.
    pub table: String,
    /// Whether it is AWS, or may be.
    pub is_prod: bool,
    endpoint: String,
    /// What says which endpoint it is.
    setting: &'static str,
    region: String,
    account: String,
}

impl fmt::Display for Target {
    /// What is about to be touched.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, endpoint, region, account, .. } = self;
        write!(f, "table {table} at {endpoint}, region {region}, account {account}")
    }
}

impl Target {
    /// Reaches the endpoint that is named, or the local engine; AWS with `prod` only.
    pub async fn reach(prod: Prod, table: String) -> anyhow::Result<Self> {
        let named = endpoint_of(&["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]);
        let setting = named.as_ref().map(|(name, _)| *name);
        if !prod.prod {
            let url = local_only(named, || Ok(LOCAL_ENDPOINT.to_owned()))?;
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

    /// The messages table.
    pub fn messages_table(&self) -> MessagesTable {
        MessagesTable::new(self.aws.dynamodb.clone(), &self.table)
    }

    /// Where this is, for errors.
    pub fn place(&self) -> Place {
        Place {
            table: Some(self.table.clone()),
            dynamodb: Some(self.endpoint.clone()),
            dynamodb_setting: Some(self.setting),
            ..Place::default()
        }
    }
}

/// The first of the variables that is set, and its value.
pub fn endpoint_of(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()).map(|url| (*name, url)))
}

/// The endpoint that is named, unless it is AWS.
pub fn local_only(
    named: Option<(&'static str, String)>,
    otherwise: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    match named {
        Some((name, url)) if is_aws(&url) => {
            Err(Refused(format!("{name} is AWS ({url}): give --prod to reach it")).into())
        }
        Some((name, url)) => {
            crate::config::checked_address(name, &url)?;
            Ok(url)
        }
        None => otherwise(),
    }
}

/// Whose account it is. Credentials that are missing are told of here, before anything is done with them.
pub async fn account(aws: &Aws) -> anyhow::Result<String> {
    if let Some(account) = aws.credentials_account().await? {
        return Ok(account);
    }
    let asked = tokio::time::timeout(ACCOUNT_PATIENCE, aws.account()).await.ok().flatten();
    Ok(asked.unwrap_or_else(|| "unknown".to_owned()))
}
