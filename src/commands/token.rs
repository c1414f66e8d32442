//! `token`: prints an access token for a user of `dev`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::net::TcpListener;

use super::dev::Running;
use crate::embedded::data_dir::{DataDir, DataDirError};
use crate::embedded::issuer::{GOOD_FOR, LocalIssuer};
use crate::embedded::postgres::EmbeddedPostgres;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    /// Handle of the user
    handle: String,
    /// Data folder of `dev`
    #[arg(long, env = "CRUDDUR_DATA_DIR", value_name = "CRUDDUR_DATA_DIR", default_value = ".cruddur")]
    data_dir: PathBuf,
    /// Number of seconds after which the token expires [default: 30 days]
    #[arg(long, value_name = "SECONDS", default_value_t = GOOD_FOR.as_secs(), hide_default_value = true)]
    valid_for: u64,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let key_file = DataDir::token_key(&options.data_dir);
    if !key_file.exists() {
        bail!("{} has no data of `dev`: run `dev` first, or check --data-dir", options.data_dir.display());
    }
    let issuer = LocalIssuer::open(&key_file)?;
    let id = match DataDir::open(&options.data_dir) {
        Ok(data_dir) => id_from_data_folder(&data_dir, &options.handle).await?,
        Err(DataDirError::InUse(_)) => id_from_running_dev(&options).await?,
        Err(error) => return Err(error.into()),
    };
    let Some(id) = id else { bail!("no user has the handle {:?}", options.handle) };
    println!("{}", issuer.token_valid_for(&id, Duration::from_secs(options.valid_for))?);
    Ok(())
}

/// Requests the user's id from a running `dev`.
async fn id_from_running_dev(options: &Options) -> anyhow::Result<Option<String>> {
    let file = Running::file(&options.data_dir);
    let Ok(text) = fs::read(&file) else {
        bail!("`dev` has not finished its start: try again when it prints `Ready.`")
    };
    let running: Running =
        serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut url: reqwest::Url = running.users_url.parse()?;
    url.path_segments_mut().map_err(|()| anyhow!("{} has no valid URL", file.display()))?.push(&options.handle);
    let response = reqwest::get(url).await.and_then(reqwest::Response::error_for_status);
    Ok(response
        .context("`dev` does not respond: close other connections to its PostgreSQL, such as psql")?
        .json()
        .await?)
}

/// Starts the PostgreSQL of a stopped `dev` and reads the user's id.
async fn id_from_data_folder(data_dir: &DataDir, handle: &str) -> anyhow::Result<Option<String>> {
    let postgres =
        EmbeddedPostgres::start(Some(data_dir.postgres()), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?).await?;
    let users = Users::new(postgres.pool()?);
    let id = users.cognito_user_id(handle).await;
    users.close().await;
    postgres.stop().await;
    Ok(id?)
}
