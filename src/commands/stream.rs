//! `stream`: the stream consumer, seen and mended. Reaches AWS only with `--prod`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::endpoint::connect;
use crate::aws::Aws;
use crate::config::TableSettings;
use crate::environment::Chance;
use crate::messages_table::MessagesTable;
use crate::model::MessageGroupUuid;
use crate::stream::dynamodb::DynamoDbStream;
use crate::stream::effect::{Effect, move_to};
use crate::stream::lease::{Checkpoint, Lease, LeaseTable};
use crate::stream::lease_table::ConsumerTable;
use crate::stream::reconcile::{reconcile_all, reconcile_group};
use crate::stream::set_aside::{SetAside, SetAsideTable};
use crate::stream::source::StreamSource;

#[derive(Args, Debug)]
pub struct Options {
    /// Reach AWS, as the environment configures it, and not a local engine
    #[arg(long, global = true)]
    prod: bool,
    #[command(flatten)]
    table: TableSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print the shards, who reads them, how far, and how many records are set aside
    Status,
    /// Bring message group rows to their groups' newest messages: of all groups that have a row, or of one
    Reconcile {
        /// The one group
        #[arg(long, value_name = "UUID")]
        group: Option<Uuid>,
    },
    /// The records that failed by their own fault
    #[command(subcommand)]
    SetAside(SetAsideCommand),
}

#[derive(Subcommand, Debug)]
enum SetAsideCommand {
    /// Print them with their reasons
    List,
    /// Put them into effect again, and forget those that succeed
    Replay,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("error")?;
    let (aws, endpoint) = connect(options.prod).await?;
    let name = options.table.ddb_message_table;
    let consumer_table = ConsumerTable::new(aws.dynamodb.clone(), &name);
    let messages = MessagesTable::new(aws.dynamodb.clone(), &name);
    match options.command {
        Command::Status => status(&aws, &name, &consumer_table).await,
        Command::Reconcile { group } => {
            println!("Reconciling message group rows of table {name} at {endpoint}");
            reconcile(&messages, group.map(MessageGroupUuid)).await
        }
        Command::SetAside(SetAsideCommand::List) => list(&consumer_table).await,
        Command::SetAside(SetAsideCommand::Replay) => {
            println!("Replaying the records set aside into table {name} at {endpoint}");
            replay(&messages, &consumer_table).await
        }
    }
}

async fn status(aws: &Aws, name: &str, table: &ConsumerTable) -> anyhow::Result<()> {
    let source = DynamoDbStream::new(aws.dynamodb.clone(), aws.streams.clone(), name);
    let stream = source.stream().await?;
    let listed = source.shards(&stream).await?;
    let leases = LeaseTable::list(table, &stream).await?;
    println!("Stream {stream}");
    println!("{:<44} {:<38} {:<26} LAST RECORD", "SHARD", "OWNER", "CHECKPOINT");
    for lease in &leases {
        println!("{}", line(lease, Utc::now()));
    }
    for shard in listed.iter().filter(|shard| leases.iter().all(|lease| lease.shard != shard.id)) {
        println!("{:<44} {:<38} {:<26} -", shard.id, "-", "no lease yet");
    }
    println!("{} records set aside", SetAsideTable::list(table).await?.len());
    Ok(())
}

fn line(lease: &Lease, now: DateTime<Utc>) -> String {
    let checkpoint = match &lease.checkpoint {
        None => "not begun",
        Some(Checkpoint::TrimHorizon) => "after a gap",
        Some(Checkpoint::BehindGap) => "before a gap",
        Some(Checkpoint::At(number)) => number,
        Some(Checkpoint::ShardEnd) => "finished",
    };
    let until = lease.handled_until.and_then(DateTime::from_timestamp_millis);
    let age = until.map_or("-".to_owned(), |until| format!("{} s ago", (now - until).num_seconds().max(0)));
    let owner = lease.owner.as_deref().unwrap_or("-");
    format!("{:<44} {owner:<38} {checkpoint:<26} {age}", lease.shard)
}

async fn reconcile(messages: &MessagesTable, group: Option<MessageGroupUuid>) -> anyhow::Result<()> {
    let chance = Chance::new();
    match group {
        Some(group) => match reconcile_group(messages, group, &chance).await? {
            Effect::Moved => println!("{group}: moved"),
            Effect::UpToDate => println!("{group}: right already"),
            Effect::NobodyThere => bail!("nobody is known to take part in group {group}"),
        },
        None => {
            let tell = |done: crate::stream::reconcile::Reconciled| {
                println!("{} groups looked at, {} moved", done.groups, done.moved);
            };
            reconcile_all(messages, &chance, tell).await?;
            println!("Done.");
        }
    }
    Ok(())
}

async fn list(table: &ConsumerTable) -> anyhow::Result<()> {
    let set_aside = SetAsideTable::list(table).await?;
    for SetAside { sequence_number, reason, message_pk, message_sk, set_aside_at, .. } in &set_aside {
        println!("{set_aside_at}  record {sequence_number}  {message_pk} / {message_sk}\n    {reason}");
    }
    println!("{} records set aside", set_aside.len());
    Ok(())
}

async fn replay(messages: &MessagesTable, table: &ConsumerTable) -> anyhow::Result<()> {
    let chance = Chance::new();
    let mut failed = 0;
    for aside in SetAsideTable::list(table).await? {
        let outcome = match messages.message_at(&aside.message_pk, &aside.message_sk).await {
            Ok(Some(message)) => match move_to(messages, &message, &chance).await {
                Ok(Effect::Moved | Effect::UpToDate) => Ok("done"),
                Ok(Effect::NobodyThere) => Err("nobody is known to take part in the group".to_owned()),
                Err(error) => Err(crate::report(&error)),
            },
            Ok(None) => Ok("the message is gone, nothing to do"),
            Err(error) => Err(crate::report(&error)),
        };
        match outcome {
            Ok(done) => {
                SetAsideTable::remove(table, &aside).await?;
                println!("record {}: {done}", aside.sequence_number);
            }
            Err(reason) => {
                failed += 1;
                println!("record {}: still fails: {reason}", aside.sequence_number);
            }
        }
    }
    if failed > 0 {
        bail!("{failed} records stay set aside");
    }
    Ok(())
}
