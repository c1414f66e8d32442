//! `stream`: inspects and repairs the stream consumer. An endpoint that is not local requires `--prod`.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use super::failure::LeftOver;
use super::output::Output;
use super::stream_status::status;
use super::target::{TableOptions, Target};
use crate::config::FeedSettings;
use crate::environment::SystemEnvironment;
use crate::messages_table::MessagesTable;
use crate::model::{MessageGroupUuid, UserUuid};
use crate::stream::appender::Appender;
use crate::stream::consumer_table::ConsumerTable;
use crate::stream::effect::{Effect, EffectError};
use crate::stream::reconcile::{FailedGroup, Reconciled, Reconciler};
use crate::stream::set_aside::{SetAside, SetAsideTable, Subject};

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    options: TableOptions,
    #[command(flatten)]
    feed: FeedSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print the shards with their owners, checkpoints and waiting messages, the state of the repair after lost stream
    /// records, and the number of set-aside records and groups
    #[command(after_help = "Example:\n  cruddur-messaging stream status --prod")]
    Status {
        /// Also print how many events were written to the feed of this user since its beginning, including expired events
        #[arg(long, value_name = "USER_UUID")]
        feed: Option<Uuid>,
    },
    /// Correct the position of each message group in the lists of both participants; safe during live traffic
    ///
    /// If the command moves a group, it adds a reset to the feeds of both participants.
    #[command(after_help = "Example:\n  cruddur-messaging stream reconcile --prod")]
    Reconcile {
        /// Check only this group instead of all groups that are in a list
        #[arg(long, value_name = "UUID")]
        group: Option<Uuid>,
        /// Add a reset to the feeds of both participants of all groups that the command checks, and count their unread messages
        /// again
        #[arg(long)]
        reset_feeds: bool,
    },
    /// List or replay the records and groups that failed permanently
    #[command(subcommand)]
    SetAside(SetAsideCommand),
}

#[derive(Subcommand, Debug)]
enum SetAsideCommand {
    /// Print the set-aside records and groups with their reasons
    #[command(after_help = "Example:\n  cruddur-messaging stream set-aside list --prod --json")]
    List,
    /// Process the set-aside records and groups again, and remove those that succeed
    ///
    /// The command adds a reset to the feeds of both participants of each message that it replays, and of each group that it
    /// moves.
    #[command(after_help = "Example:\n  cruddur-messaging stream set-aside replay --prod")]
    Replay,
}

/// Maximum number of attempts of a call during an outage. They take about half a minute.
const OUTAGE_TRIES: u32 = 8;
/// Number of groups after which reconciling prints its progress.
const PROGRESS_INTERVAL: usize = 100;

pub async fn run(options: Options) -> anyhow::Result<()> {
    super::logging::start("off")?;
    let Options { options: TableOptions { prod, output, table }, feed, command } = options;
    let target = Target::reach(&prod, table.ddb_message_table).await?;
    let consumer_table = ConsumerTable::new(target.aws.dynamodb.clone(), &target.table);
    let messages = target.messages_table();
    let appender = Appender::new(feed.retention());
    let reconciler = |records_lost| reconciler(&messages, &appender, records_lost);
    let done = match command {
        Command::Status { feed } => status(&target, output, &consumer_table, feed.map(UserUuid)).await,
        Command::Reconcile { group, reset_feeds } => {
            output.say(format!("Reconciling message group rows of {target}"));
            reconcile(output, &reconciler(reset_feeds), group.map(MessageGroupUuid)).await
        }
        Command::SetAside(SetAsideCommand::List) => list(output, &consumer_table).await,
        Command::SetAside(SetAsideCommand::Replay) => {
            output.say(format!("Replaying the set-aside records into {target}"));
            replay(output, &messages, &reconciler(false), &consumer_table).await
        }
    };
    done.map_err(|error| target.endpoints().explain(error))
}

fn reconciler<'a>(
    rows: &'a MessagesTable,
    appender: &'a Appender,
    records_lost: bool,
) -> Reconciler<'a, MessagesTable> {
    let (environment, outage_tries) = (&SystemEnvironment, OUTAGE_TRIES);
    Reconciler { rows, appender, records_lost, environment, outage_tries }
}

async fn reconcile(
    output: Output,
    reconciler: &Reconciler<'_, MessagesTable>,
    group: Option<MessageGroupUuid>,
) -> anyhow::Result<()> {
    if let Some(group) = group {
        match reconciler.group(group).await? {
            Some(Effect::Moved) => {
                output.result(format!("{group}: moved"), || json!({ "group": group.to_string(), "moved": true }));
            }
            Some(Effect::Fed) => output.result(
                format!("{group}: already up to date, feeds reset"),
                || json!({ "group": group.to_string(), "moved": false, "feedsReset": true }),
            ),
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

/// Applies one set-aside entry again. Returns `None` if the message of a record, or every message of a group, is gone. Messages
/// after that of a record may have been fed already, so the message cannot get a position in the feeds. Instead, they are
/// reset.
async fn replay_one(
    messages: &MessagesTable,
    reconciler: &Reconciler<'_, MessagesTable>,
    aside: &SetAside,
) -> Result<Option<Effect>, EffectError> {
    if let Subject::Group(group) = aside.subject {
        return reconciler.group(group).await;
    }
    match messages.message_at(&aside.message_pk, &aside.message_sk).await? {
        Some(message) => reconciler.message(&message, true).await.map(Some),
        None => Ok(None),
    }
}

async fn replay(
    output: Output,
    messages: &MessagesTable,
    reconciler: &Reconciler<'_, MessagesTable>,
    table: &ConsumerTable,
) -> anyhow::Result<()> {
    let mut failed = 0;
    for aside in SetAsideTable::list(table).await? {
        let outcome = match replay_one(messages, reconciler, &aside).await {
            Ok(Some(Effect::Moved | Effect::Fed | Effect::UpToDate)) => Ok("done"),
            Ok(Some(Effect::NoParticipants)) => Err(Effect::NO_PARTICIPANTS.to_owned()),
            Ok(None) => Ok("the message is gone, nothing to do"),
            // The error affects all entries, so the command ends.
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
