//! `stream`: inspects and repairs the stream consumer. Uses AWS only with `--prod`.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::failure::LeftOver;
use super::output::Output;
use super::target::{TableOptions, Target};
use crate::environment::{Environment, SystemEnvironment};
use crate::messages_table::MessagesTable;
use crate::model::MessageGroupUuid;
use crate::stream::dynamodb::DynamoDbStream;
use crate::stream::effect::{Effect, EffectError, move_to};
use crate::stream::lease::{Checkpoint, Lease, LeaseTable};
use crate::stream::lease_table::ConsumerTable;
use crate::stream::reconcile::{FailedGroup, Reconciled, Reconciler};
use crate::stream::set_aside::{SetAside, SetAsideTable, Subject};
use crate::stream::source::StreamSource;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    options: TableOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print the shards with their readers and checkpoints, and the number of set-aside records
    #[command(after_help = "Example:\n  cruddur-messaging stream status --prod")]
    Status,
    /// Move message groups to their newest messages: all groups that have a row, or one group
    #[command(after_help = "Example:\n  cruddur-messaging stream reconcile --prod")]
    Reconcile {
        /// Reconcile only this group
        #[arg(long, value_name = "UUID")]
        group: Option<Uuid>,
    },
    /// List or replay the records that failed permanently
    #[command(subcommand)]
    SetAside(SetAsideCommand),
}

#[derive(Subcommand, Debug)]
enum SetAsideCommand {
    /// Print the set-aside records with their reasons
    #[command(after_help = "Example:\n  cruddur-messaging stream set-aside list --prod --json")]
    List,
    /// Process the set-aside records again, and remove those that succeed
    #[command(after_help = "Example:\n  cruddur-messaging stream set-aside replay --prod")]
    Replay,
}

/// Maximum number of tries of a call during an outage: about half a minute.
const OUTAGE_TRIES: u32 = 8;
/// After how many groups reconciling prints its progress.
const PROGRESS_INTERVAL: usize = 100;

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::log("off")?;
    let Options { options: TableOptions { prod, output, table }, command } = options;
    let target = Target::reach(prod, table.ddb_message_table).await?;
    let consumer_table = ConsumerTable::new(target.aws.dynamodb.clone(), &target.table);
    let messages = target.messages_table();
    let done = match command {
        Command::Status => status(&target, output, &consumer_table).await,
        Command::Reconcile { group } => {
            output.say(format!("Reconciling message group rows of {target}"));
            reconcile(output, &messages, group.map(MessageGroupUuid)).await
        }
        Command::SetAside(SetAsideCommand::List) => list(output, &consumer_table).await,
        Command::SetAside(SetAsideCommand::Replay) => {
            output.say(format!("Replaying the set-aside records into {target}"));
            replay(output, &messages, &consumer_table).await
        }
    };
    done.map_err(|error| target.place().explain(error))
}

async fn status(target: &Target, output: Output, table: &ConsumerTable) -> anyhow::Result<()> {
    let (aws, name) = (&target.aws, &target.table);
    let source = DynamoDbStream::new(aws.dynamodb.clone(), aws.streams.clone(), name);
    let stream = source.stream().await?;
    let listed = source.shards(&stream).await?;
    let leases = LeaseTable::list(table, &stream).await?;
    let aside = SetAsideTable::list(table).await?.len();
    output.say(format!("Stream {stream}"));
    output.say(row("SHARD", "OWNER", "CHECKPOINT", "HANDLED UNTIL"));
    let now = Utc::now();
    for lease in &leases {
        let age =
            lease.handled_until.and_then(DateTime::from_timestamp_millis).map(|at| (now - at).num_seconds().max(0));
        let until = age.map_or("-".to_owned(), |age| format!("{age} s ago"));
        let text = row(&lease.shard, lease.owner.as_deref().unwrap_or("-"), checkpoint(lease), &until);
        output.result(text, || {
            json!({
                "shard": &*lease.shard,
                "owner": lease.owner.as_deref(),
                "checkpoint": checkpoint(lease),
                "handledUntilSecondsAgo": age,
            })
        });
    }
    for shard in listed.iter().filter(|shard| leases.iter().all(|lease| lease.shard != shard.id)) {
        output.result(row(&shard.id, "-", "no lease yet", "-"), || json!({ "shard": &*shard.id, "checkpoint": null }));
    }
    output.result(format!("{aside} records set aside"), || json!({ "setAside": aside, "stream": &*stream }));
    Ok(())
}

fn row(shard: &str, owner: &str, checkpoint: &str, until: &str) -> String {
    format!("{shard:<44} {owner:<38} {checkpoint:<26} {until}")
}

fn checkpoint(lease: &Lease) -> &str {
    match &lease.checkpoint {
        None => "not started",
        Some(Checkpoint::TrimHorizon) => "after a gap",
        Some(Checkpoint::BehindGap) => "before a gap",
        Some(Checkpoint::At(number)) => number,
        Some(Checkpoint::ShardEnd) => "finished",
    }
}

async fn reconcile(output: Output, messages: &MessagesTable, group: Option<MessageGroupUuid>) -> anyhow::Result<()> {
    let reconciler = Reconciler { rows: messages, environment: &SystemEnvironment, outage_tries: OUTAGE_TRIES };
    if let Some(group) = group {
        match reconciler.group(group).await? {
            Some(Effect::Moved) => {
                output.result(format!("{group}: moved"), || json!({ "group": group.to_string(), "moved": true }));
            }
            Some(Effect::UpToDate) => output.result(
                format!("{group}: already up to date"),
                || json!({ "group": group.to_string(), "moved": false }),
            ),
            Some(Effect::NoParticipants) => bail!("group {group}: {}", Effect::NO_PARTICIPANTS),
            None => bail!("group {group} has no message: check the uuid"),
        }
        return Ok(());
    }
    let mut reported = 0;
    let report_progress = |done: &Reconciled| {
        if done.groups >= reported + PROGRESS_INTERVAL {
            reported = done.groups;
            output.say(format!("{} groups checked, {} moved", done.groups, done.moved));
        }
    };
    let done = reconciler.all(report_progress).await?;
    for FailedGroup { group, reason, .. } in &done.failed {
        output.result(format!("group {group}: {reason}"), || json!({ "group": group.to_string(), "failed": reason }));
    }
    let failed = done.failed.len();
    output.result(
        format!("Done: {} groups checked, {} moved, {failed} failed", done.groups, done.moved),
        || json!({ "groups": done.groups, "moved": done.moved, "failed": failed }),
    );
    if failed > 0 {
        return Err(LeftOver(format!("{failed} groups could not be reconciled")).into());
    }
    Ok(())
}

async fn list(output: Output, table: &ConsumerTable) -> anyhow::Result<()> {
    let set_aside = SetAsideTable::list(table).await?;
    for SetAside { stream, subject, reason, message_pk, message_sk, set_aside_at } in &set_aside {
        let text = format!("{set_aside_at}  {subject}  {message_pk} / {message_sk}\n    {reason}");
        output.result(text, || {
            json!({
                "stream": &**stream,
                "subject": subject.to_string(),
                "reason": reason,
                "messagePk": message_pk,
                "messageSk": message_sk,
                "setAsideAt": set_aside_at,
            })
        });
    }
    output.say(format!("{} records set aside", set_aside.len()));
    Ok(())
}

/// Applies one entry again. The entry of a group has no message if its newest message could not be read.
async fn replay_one(
    messages: &MessagesTable,
    aside: &SetAside,
    environment: &dyn Environment,
) -> Result<Option<Effect>, EffectError> {
    if let Subject::Group(group) = aside.subject {
        let reconciler = Reconciler { rows: messages, environment, outage_tries: OUTAGE_TRIES };
        return reconciler.group(group).await;
    }
    match messages.message_at(&aside.message_pk, &aside.message_sk).await? {
        Some(message) => move_to(messages, &message, environment).await.map(Some),
        None => Ok(None),
    }
}

async fn replay(output: Output, messages: &MessagesTable, table: &ConsumerTable) -> anyhow::Result<()> {
    let mut failed = 0;
    for aside in SetAsideTable::list(table).await? {
        let outcome = match replay_one(messages, &aside, &SystemEnvironment).await {
            Ok(Some(Effect::Moved | Effect::UpToDate)) => Ok("done"),
            Ok(Some(Effect::NoParticipants)) => Err(Effect::NO_PARTICIPANTS.to_owned()),
            Ok(None) => Ok("the message is gone, nothing to do"),
            // An outage affects all entries.
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => Err(crate::report(&error)),
        };
        let subject = &aside.subject;
        match outcome {
            Ok(done) => {
                SetAsideTable::remove(table, &aside).await?;
                output.result(format!("{subject}: {done}"), || json!({ "subject": subject.to_string(), "done": true }));
            }
            Err(reason) => {
                failed += 1;
                output.result(
                    format!("{subject}: still fails: {reason}"),
                    || json!({ "subject": subject.to_string(), "done": false, "reason": reason }),
                );
            }
        }
    }
    if failed > 0 {
        return Err(LeftOver(format!("{failed} records are still set aside")).into());
    }
    Ok(())
}
