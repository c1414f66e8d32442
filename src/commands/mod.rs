//! The commands of the program, one file for each.

mod completions;
mod database;
mod db;
mod ddb;
#[cfg(feature = "embedded")]
pub mod dev;
mod failure;
mod health;
mod logging;
mod output;
mod schema;
mod serve;
mod stream;
mod stream_status;
mod target;
#[cfg(feature = "embedded")]
mod token;
mod worker;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::telemetry::LogSettings;

/// Direct messages for a social app: a GraphQL API over DynamoDB and PostgreSQL, its stream consumer, and commands for
/// operators.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 110, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything in one process: DynamoDB, PostgreSQL, seed data, access tokens, API and stream consumer
    #[cfg(feature = "embedded")]
    #[command(after_help = "Example:\n  cruddur-messaging dev --data-dir .cruddur")]
    Dev(Box<dev::Options>),
    /// Run the API and the stream consumer with the configured DynamoDB, PostgreSQL and Cognito
    #[command(
        after_help = "Example:\n  DATABASE_URL=postgresql://… AWS_COGNITO_USER_POOL_ID=… AWS_COGNITO_USER_POOL_CLIENT_ID=… \\\n  cruddur-messaging serve --listen-addr 0.0.0.0:4567"
    )]
    Serve(Box<serve::Options>),
    /// Run the stream consumer without the API
    #[command(after_help = "Example:\n  AWS_REGION=eu-central-1 cruddur-messaging worker")]
    Worker(worker::Options),
    /// Create, fill, read and drop the DynamoDB tables
    Ddb(ddb::Options),
    /// Migrate and fill the PostgreSQL database
    Db(db::Options),
    /// Inspect and repair the stream consumer
    Stream(stream::Options),
    /// Check whether a `serve` or `worker` on this machine responds, for the health checks of containers
    #[command(after_help = "Example:\n  cruddur-messaging health http://127.0.0.1:4567/health/ready")]
    Health(health::Options),
    /// Print the GraphQL schema
    #[command(after_help = "Example:\n  cruddur-messaging schema > schema.graphql")]
    Schema,
    /// Print the completion script for a shell
    #[command(after_help = "Example:\n  cruddur-messaging completions bash > /etc/bash_completion.d/cruddur-messaging")]
    Completions(completions::Completions),
    /// Print the manual page, or write one page for each command
    #[command(after_help = "Example:\n  cruddur-messaging man --out-dir /usr/local/share/man/man1")]
    Man(completions::Man),
    /// Print an access token for a user of `dev`
    #[cfg(feature = "embedded")]
    #[command(after_help = "Example:\n  cruddur-messaging token ana")]
    Token(token::Options),
}

const EXIT_STATUSES: &str = "Exit status:
  0  success
  1  failure; one line on standard error gives the reason
  2  wrong usage, a missing or wrong setting, or a missing flag; the command did nothing
  3  partial success; one line on standard error says what the command could not do";

/// Parses the command line and runs the command. Prints an error as one line on standard error.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    logging::configure(cli.log);
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
    // A thread that is still blocked must not delay the exit.
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
        Command::Health(options) => health::run(options).await,
        Command::Schema => schema::run(),
        Command::Completions(options) => completions::completions(&options, Cli::command()),
        Command::Man(options) => completions::man(&options, Cli::command()),
        #[cfg(feature = "embedded")]
        Command::Token(options) => token::run(options).await,
    }
}

/// Prints a usage error: one line if a setting has a wrong value, clap's full text otherwise.
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
    // Line breaks and control characters are replaced, because an error can contain text of other systems and their users.
    let text = crate::report(error.as_ref()).replace('\n', " ");
    eprintln!("error: {}", output::escaped(&text));
    ExitCode::from(failure::exit_status(error))
}
