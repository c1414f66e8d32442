//! The commands of the one binary, a file each.

mod api;
mod completions;
mod db;
mod ddb;
#[cfg(feature = "embedded")]
pub mod dev;
mod failure;
mod output;
mod schema;
mod serve;
mod stream;
mod target;
#[cfg(feature = "embedded")]
mod token;
mod worker;

use std::process::ExitCode;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::telemetry::{self, LogSettings, TraceSettings, Traces};

/// Direct messages for a social app: a GraphQL API over DynamoDB and PostgreSQL, with its stream consumer and the
/// operator's commands.
#[derive(Parser, Debug)]
#[command(version, about, max_term_width = 110, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Command,
}

/// As the command line says; set once, before any command runs.
static LOG: OnceLock<LogSettings> = OnceLock::new();

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything in one process on a bare machine: engines, data, tokens, API and stream consumer
    #[cfg(feature = "embedded")]
    #[command(after_help = "Example:\n  cruddur-messaging dev --data-dir .cruddur")]
    Dev(Box<dev::Options>),
    /// Run the API and the stream consumer against real services
    #[command(
        after_help = "Example:\n  DATABASE_URL=postgresql://… AWS_COGNITO_USER_POOL_ID=… AWS_COGNITO_USER_POOL_CLIENT_ID=… \\\n  cruddur-messaging serve --listen-addr 0.0.0.0:4567"
    )]
    Serve(Box<serve::Options>),
    /// Run the stream consumer alone
    #[command(after_help = "Example:\n  AWS_REGION=eu-central-1 cruddur-messaging worker")]
    Worker(worker::Options),
    /// Operate the DynamoDB tables
    Ddb(ddb::Options),
    /// Operate the PostgreSQL database
    Db(db::Options),
    /// See and mend the stream consumer
    Stream(stream::Options),
    /// Print the GraphQL schema
    #[command(after_help = "Example:\n  cruddur-messaging schema > schema.graphql")]
    Schema,
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  cruddur-messaging completions bash > /etc/bash_completion.d/cruddur-messaging")]
    Completions(completions::Completions),
    /// Print the manual page
    #[command(after_help = "Example:\n  cruddur-messaging man --out-dir /usr/local/share/man/man1")]
    Man(completions::Man),
    /// Print an access token of a user of `dev`, and nothing else
    #[cfg(feature = "embedded")]
    #[command(after_help = "Example:\n  cruddur-messaging token ana")]
    Token(token::Options),
}

const EXIT_STATUSES: &str = "Exit status:
  0  done
  1  failed; standard error has one line that says why
  2  used wrongly, a setting is missing or wrong, or a flag is asked for; nothing was done
  3  done, and something is left to the operator: differences, records still set aside, users that lack";

/// Runs the command line. An error is one line on standard error.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let _ = LOG.set(cli.log.clone());
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
        Command::Dev(options) => dev::run(*options).await,
        Command::Serve(options) => serve::run(*options).await,
        Command::Worker(options) => worker::run(options).await,
        Command::Ddb(options) => ddb::run(options).await,
        Command::Db(options) => db::run(options).await,
        Command::Stream(options) => stream::run(options).await,
        Command::Schema => schema::run(),
        Command::Completions(options) => completions::completions(&options, Cli::command()),
        Command::Man(options) => completions::man(&options, Cli::command()),
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
            ExitCode::from(failure::USAGE)
        }
        _ => error.exit(),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let text = crate::report(error.as_ref()).replace('\n', " ");
    eprintln!("error: {text}");
    ExitCode::from(failure::status(error))
}

/// Sends the log to standard error, as `RUST_LOG` says or else `default`.
fn log(default: &str) -> anyhow::Result<()> {
    telemetry::start(LOG.get().cloned().unwrap_or_default(), default, None).map(drop)
}

/// Likewise, and traces where `traces` says.
fn log_and_traces(default: &str, traces: &TraceSettings) -> anyhow::Result<Traces> {
    telemetry::start(LOG.get().cloned().unwrap_or_default(), default, Some(traces))
}
