//! `ddb`: the operator's commands on the DynamoDB tables, a file each. They reach AWS only with `--prod`.

mod drop;
mod get_conversation;
mod list_conversations;
mod list_tables;
mod scan;
mod schema_load;
mod seed;

use clap::{Args, Subcommand};

use super::target::{TableOptions, Target};
use crate::messages_table::Consumed;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    options: TableOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create the messages table with its index and stream, and the stream consumer's table
    ///
    /// Run again it says what already matches. It turns on what is off and should be on (the stream, with --prod the
    /// protections), and ends with status 3 when something differs that it does not change by itself.
    #[command(after_help = schema_load::EXAMPLE)]
    SchemaLoad(schema_load::Options),
    /// Print the names of all tables
    #[command(after_help = "Example:\n  cruddur-messaging ddb list-tables")]
    ListTables,
    /// Drop the messages table and the stream consumer's table, with all that is in them
    #[command(after_help = drop::EXAMPLE)]
    Drop(drop::Options),
    /// Write the seed's conversations, looking up the users in PostgreSQL by their handles
    #[command(after_help = seed::EXAMPLE)]
    Seed(seed::Options),
    /// Print the items of the messages table, in no order; for development
    #[command(after_help = scan::EXAMPLE)]
    Scan(scan::Options),
    /// Run one of the table's access patterns
    #[command(subcommand)]
    Patterns(Patterns),
}

#[derive(Subcommand, Debug)]
enum Patterns {
    /// Print messages of a conversation: the newest ones, oldest to newest
    #[command(after_help = get_conversation::EXAMPLE)]
    GetConversation(get_conversation::Options),
    /// Print a user's conversations, last reply first
    #[command(after_help = list_conversations::EXAMPLE)]
    ListConversations(list_conversations::Options),
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("error")?;
    let Options { options: TableOptions { prod, output, table }, command } = options;
    // What is refused in production is refused before anything there is asked.
    match &command {
        Command::Scan(options) => options.check(prod, &table.ddb_message_table)?,
        Command::Seed(options) => options.check(prod, output)?,
        _ => {}
    }
    let target = Target::reach(prod, table.ddb_message_table).await?;
    let done = match command {
        Command::SchemaLoad(options) => schema_load::run(&target, output, &options).await,
        Command::ListTables => list_tables::run(&target, output).await,
        Command::Drop(options) => drop::run(&target, output, &options).await,
        // These know PostgreSQL's place too, and explain by themselves.
        Command::Seed(options) => return seed::run(&target, output, prod, &options).await,
        Command::Patterns(Patterns::ListConversations(options)) => {
            return list_conversations::run(&target, output, prod, &options).await;
        }
        Command::Scan(options) => scan::run(&target, output, &options).await,
        Command::Patterns(Patterns::GetConversation(options)) => get_conversation::run(&target, output, &options).await,
    };
    done.map_err(|error| target.place().explain(error))
}

/// `1.5 read units`, and the write units where there are any.
fn cost(consumed: Consumed) -> String {
    match consumed {
        Consumed { read, write: 0.0 } => format!("{read} read units"),
        Consumed { read, write } => format!("{read} read and {write} write units"),
    }
}
