//! `ddb`: commands for the DynamoDB tables, one file for each. An endpoint that is not local requires `--prod`.

mod adopt_legacy;
mod drop;
mod get_conversation;
mod list_conversations;
mod list_tables;
mod scan;
mod schema_load;
mod seed;
mod summary;

use clap::{Args, Subcommand};

use super::target::{TableOptions, Target};

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    options: TableOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create or check the messages table, its index and stream, and the stream consumer's table
    ///
    /// For existing tables, the command prints the properties that match. It enables the stream and time to live, and with
    /// --prod, or if their flags are `true`, also deletion protection and point-in-time recovery. It does not change any other
    /// property; if one differs, it exits with status 3.
    #[command(after_help = schema_load::EXAMPLE)]
    SchemaLoad(schema_load::Options),
    /// Print the names of all tables of the endpoint
    #[command(after_help = "Example:\n  cruddur-messaging ddb list-tables")]
    ListTables,
    /// Delete the messages table and the stream consumer's table with all their data
    #[command(after_help = drop::EXAMPLE)]
    Drop(drop::Options),
    /// Write the seed conversations; PostgreSQL must have the seed users
    #[command(after_help = seed::EXAMPLE)]
    Seed(seed::Options),
    /// Migrate all groups of the legacy system, so that requests no longer need to read its items
    ///
    /// The legacy system is an earlier program that wrote to the same tables. First stop it. The command is safe while `serve`
    /// and `worker` run, and you can interrupt it and run it again. After it has migrated all groups, it writes a marker. Then
    /// requests and the stream consumer no longer read items of the legacy system to find groups.
    #[command(after_help = adopt_legacy::EXAMPLE)]
    AdoptLegacy(adopt_legacy::Options),
    /// Print the items of the messages table in no particular order; for development
    #[command(after_help = scan::EXAMPLE)]
    Scan(scan::Options),
    /// Run one of the table's access patterns
    #[command(subcommand)]
    Patterns(Patterns),
}

#[derive(Subcommand, Debug)]
enum Patterns {
    /// Print the newest messages of a conversation, from oldest to newest
    #[command(after_help = get_conversation::EXAMPLE)]
    GetConversation(get_conversation::Options),
    /// Print the conversations of a user, with the most recent message first
    #[command(after_help = list_conversations::EXAMPLE)]
    ListConversations(list_conversations::Options),
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::logging::start("error")?;
    let Options { options: TableOptions { prod, output, table }, command } = options;
    // These commands are rejected in production before any request is sent.
    match &command {
        Command::Scan(options) => options.check(&prod, &table.ddb_message_table)?,
        Command::Seed(options) => options.check(&prod, output)?,
        _ => {}
    }
    let target = Target::reach(&prod, table.ddb_message_table).await?;
    let done = match command {
        Command::SchemaLoad(options) => schema_load::run(&target, output, &options).await,
        Command::ListTables => list_tables::run(&target, output).await,
        Command::Drop(options) => drop::run(&target, output, &options).await,
        // These two commands also use PostgreSQL, so they explain their errors themselves.
        Command::Seed(options) => return seed::run(&target, output, &prod, &options).await,
        Command::Patterns(Patterns::ListConversations(options)) => {
            return list_conversations::run(&target, output, &prod, &options).await;
        }
        Command::AdoptLegacy(options) => adopt_legacy::run(&target, output, &options).await,
        Command::Scan(options) => scan::run(&target, output, &options).await,
        Command::Patterns(Patterns::GetConversation(options)) => get_conversation::run(&target, output, &options).await,
    };
    done.map_err(|error| target.endpoints().explain(error))
}
