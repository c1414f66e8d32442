//! `ddb`: the operator's commands on the DynamoDB tables. They reach AWS only with `--prod`.

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use super::endpoint::connect;
use crate::app::pool;
use crate::aws::Aws;
use crate::config::{DatabaseSettings, TableSettings};
use crate::messages_table::MessagesTable;
use crate::messages_table::schema::{Billing, Loaded, leases_table_name, load_leases_table, load_messages_table};
use crate::seed::seed_messages;
use crate::users::Users;

#[derive(Args, Debug)]
pub struct Options {
    /// Reach AWS, as the environment configures it, and not a local engine
    #[arg(long, global = true)]
    prod: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create the messages table with its index and stream, and the stream consumer's table
    SchemaLoad(SchemaLoad),
    /// Write the seed's conversations, looking up the users in PostgreSQL
    Seed(Seed),
}

#[derive(Args, Debug)]
struct SchemaLoad {
    #[command(flatten)]
    table: TableSettings,
    /// How the capacity is paid for
    #[arg(long, value_enum, default_value_t = BillingMode::Provisioned)]
    billing: BillingMode,
    /// Provisioned read units a second, on the table and on the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    read_capacity: i64,
    /// Provisioned write units a second, on the table and on the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    write_capacity: i64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BillingMode {
    Provisioned,
    OnDemand,
}

#[derive(Args, Debug)]
struct Seed {
    #[command(flatten)]
    table: TableSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("warn")?;
    let (aws, endpoint) = connect(options.prod).await?;
    match options.command {
        Command::SchemaLoad(load) => schema_load(&aws, &endpoint, load).await,
        Command::Seed(_) if options.prod => bail!("`ddb seed` writes made-up conversations and never to AWS"),
        Command::Seed(seed) => {
            let url = seed.database.url()?;
            let users = Users::new(pool(url, seed.database.database_max_connections)?);
            let name = seed.table.ddb_message_table;
            println!("Seeding table {name} at {endpoint}");
            let done = seed_messages(&MessagesTable::new(aws.dynamodb, name), &users).await?;
            println!("{} conversations begun, {} left alone", done.conversations, done.left_alone);
            users.close().await;
            match done.without_users {
                0 => Ok(()),
                some => bail!("{some} conversations left out: PostgreSQL lacks their users, so run `db seed` first"),
            }
        }
    }
}

async fn schema_load(aws: &Aws, endpoint: &str, load: SchemaLoad) -> anyhow::Result<()> {
    let name = load.table.ddb_message_table;
    let billing = match load.billing {
        BillingMode::OnDemand => Billing::OnDemand,
        BillingMode::Provisioned => Billing::Provisioned { read: load.read_capacity, write: load.write_capacity },
    };
    println!("Loading tables {name} and {} at {endpoint}", leases_table_name(&name));
    let messages = load_messages_table(&aws.dynamodb, &name, billing).await?;
    println!("{name}: {}", describe(messages));
    let leases = load_leases_table(&aws.dynamodb, &name, billing).await?;
    println!("{}: {}", leases_table_name(&name), describe(leases));
    Ok(())
}

fn describe(loaded: Loaded) -> &'static str {
    match loaded {
        Loaded::Created => "created",
        Loaded::StreamEnabled => "was there, its stream is on now",
        Loaded::AlreadyThere => "was there already",
    }
}
