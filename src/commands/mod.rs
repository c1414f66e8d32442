//! The commands of the one binary, a file each.

mod db;
mod ddb;
#[cfg(feature = "embedded")]
pub mod dev;
mod endpoint;
mod schema;
mod serve;
mod stream;
#[cfg(feature = "embedded")]
mod token;
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Direct messages for a social app: a GraphQL API over DynamoDB and PostgreSQL, with its stream consumer and the
/// operator's commands.
#[derive(Parser, Debug)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything in one process on a bare machine: engines, data, tokens, API and stream consumer
    #[cfg(feature = "embedded")]
    Dev(dev::Options),
    /// Run the API and the stream consumer against real services
    Serve(serve::Options),
    /// Run the stream consumer alone
    Worker(worker::Options),
    /// Operate the DynamoDB tables
    Ddb(ddb::Options),
    /// Operate the PostgreSQL database
    Db(db::Options),
    /// See and mend the stream consumer
    Stream(stream::Options),
    /// Print the GraphQL schema
    Schema,
    /// Print an access token of a user of `dev`, and nothing else
    #[cfg(feature = "embedded")]
    Token(token::Options),
}

/// The exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// Runs the command line. Errors are one line on standard error and exit status 1; wrong usage is 2.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(async {
        match run(cli.command).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    });
    // Whatever still blocks a thread must not keep the process.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        #[cfg(feature = "embedded")]
        Command::Dev(options) => dev::run(options).await,
        Command::Serve(options) => serve::run(options).await,
        Command::Worker(options) => worker::run(options).await,
        Command::Ddb(options) => ddb::run(options).await,
        Command::Db(options) => db::run(options).await,
        Command::Stream(options) => stream::run(options).await,
        Command::Schema => schema::run(),
        #[cfg(feature = "embedded")]
        Command::Token(options) => token::run(options).await,
    }
}

/// A wrong value of a setting is one line that names it; anything else clap explains at length.
fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let text = error.to_string();
            eprintln!("{}", text.lines().next().unwrap_or_default());
            ExitCode::from(USAGE)
        }
        _ => error.exit(),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let text = crate::report(error.as_ref()).replace('\n', " ");
    eprintln!("error: {text}");
    ExitCode::FAILURE
}

/// Sends the log to standard error, as `RUST_LOG` says or else `default`.
fn log(default: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| anyhow::anyhow!("RUST_LOG cannot be read: {error}"))?
        }
        _ => EnvFilter::new(default),
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    Ok(())
}
