//! `token`: an access token of a user of `dev`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::net::TcpListener;

use super::dev::Running;
use crate::embedded::data_dir::{DataDir, DataDirError};
use crate::embedded::issuer::LocalIssuer;
use crate::embedded::postgres::EmbeddedPostgres;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    /// Whose token
    handle: String,
    /// Folder that `dev` keeps everything in
    #[arg(long, env = "CRUDDUR_DATA_DIR", value_name = "CRUDDUR_DATA_DIR", default_value = ".cruddur")]
    data_dir: PathBuf,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let key_file = DataDir::token_key(&options.data_dir);
    if !key_file.exists() {
        bail!("there is no data of `dev` in {} (--data-dir): run `dev` first", options.data_dir.display());
    }
    let issuer = LocalIssuer::open(&key_file)?;
    let id = match DataDir::open(&options.data_dir) {
        Ok(data_dir) => ask_stopped(&data_dir, &options.handle).await?,
        Err(DataDirError::InUse(_)) => ask_running(&options).await?,
        Err(error) => return Err(error.into()),
    };
    let Some(id) = id else { bail!("there is no user {}", options.handle) };
    println!("{}", issuer.token(&id)?);
    Ok(())
}

/// Asks a running `dev`.
async fn ask_running(options: &Options) -> anyhow::Result<Option<String>> {
    let file = Running::file(&options.data_dir);
    let Ok(text) = fs::read(&file) else { bail!("`dev` is not ready yet") };
    let running: Running =
        serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut url: reqwest::Url = running.users_url.parse()?;
    url.path_segments_mut().map_err(|()| anyhow!("the address of `dev` has no path"))?.push(&options.handle);
    let answer = reqwest::get(url).await.and_then(reqwest::Response::error_for_status);
    Ok(answer.context("`dev` does not answer; is psql open on its PostgreSQL?")?.json().await?)
}

/// Starts the PostgreSQL of a `dev` that does not run, to ask it.
async fn ask_stopped(data_dir: &DataDir, handle: &str) -> anyhow::Result<Option<String>> {
    let postgres =
        EmbeddedPostgres::start(Some(data_dir.postgres()), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?).await?;
    let id = ask(Users::new(postgres.pool()?), handle).await;
    postgres.stop().await;
    id
}

async fn ask(users: Users, handle: &str) -> anyhow::Result<Option<String>> {
    let id = users.cognito_user_id(handle).await;
    users.close().await;
    Ok(id?)
}
