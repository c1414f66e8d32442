//! `stream status`: the shards with the messages that wait in them, the repair, the number of set-aside records, and the head
//! of a feed.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::output::Output;
use super::target::Target;
use crate::messages_table::MessagesTable;
use crate::model::UserUuid;
use crate::report;
use crate::stream::arrivals::arrivals;
use crate::stream::consumer_table::ConsumerTable;
use crate::stream::dynamodb::DynamoDbStream;
use crate::stream::ids::StreamArn;
use crate::stream::lease::{Checkpoint, Lease, LeaseTable};
use crate::stream::repair::{Complete, Pass, Repair, RepairTable, Tally};
use crate::stream::set_aside::SetAsideTable;
use crate::stream::source::{Position, StreamError, StreamSource};

/// Maximum number of reads of a shard to count its waiting messages. A read returns at most 1,000 records.
const MAX_READS: usize = 10;

/// Prints the status of the stream consumer and, if `feed_of` is set, the size of the feed of this user.
pub async fn status(
    target: &Target,
    output: Output,
    table: &ConsumerTable,
    feed_of: Option<UserUuid>,
) -> anyhow::Result<()> {
    let (aws, name) = (&target.aws, &target.table);
    let source = DynamoDbStream::new(aws.dynamodb.clone(), aws.streams.clone(), name);
    let stream = source.stream().await?;
    let listed = source.shards(&stream).await?;
    let leases = LeaseTable::list(table, &stream, false).await?;
    let repair = table.repair().await?;
    let aside = SetAsideTable::list(table).await?.len();
    output.say(format!("Stream {stream}"));
    output.say(row("SHARD", "OWNER", "CHECKPOINT", "HANDLED UNTIL", "WAITING"));
    let now = Utc::now();
    for lease in &leases {
        let age = lease.handled_until.map(|at| age(now, at));
        let until = age.map_or("-".to_owned(), |age| format!("{age} s ago"));
        let has_children = listed.iter().any(|shard| shard.parent.as_ref() == Some(&lease.shard));
        let waiting = waiting(&source, &stream, lease, has_children).await.map_err(|error| report(&error));
        let waits = waiting.as_ref().map_or_else(|error| format!("unknown: {error}"), Waiting::to_string);
        let text = row(&lease.shard, lease.owner.as_deref().unwrap_or("-"), checkpoint(lease), &until, &waits);
        output.result(text, || {
            json!({
                "shard": &*lease.shard,
                "owner": lease.owner.as_deref(),
                "checkpoint": checkpoint(lease),
                "handledUntilSecondsAgo": age,
                "messagesWaiting": waiting.as_ref().ok().map(|it| it.messages),
                "moreWait": waiting.as_ref().ok().map(|it| it.more),
            })
        });
    }
    for shard in listed.iter().filter(|shard| leases.iter().all(|lease| lease.shard != shard.id)) {
        output.result(
            row(&shard.id, "-", "no lease yet", "-", "-"),
            || json!({ "shard": &*shard.id, "checkpoint": null }),
        );
    }
    output.result(repair_text(&repair, now), || json!({ "repair": repair_json(&repair, now) }));
    output.result(format!("{aside} records set aside"), || json!({ "setAside": aside, "stream": &*stream }));
    if let Some(user) = feed_of {
        feed_head(output, &target.messages_table(), user).await?;
    }
    Ok(())
}

/// Prints the position of the last entry of a feed and the number of its events.
async fn feed_head(output: Output, messages: &MessagesTable, user: UserUuid) -> anyhow::Result<()> {
    let head = messages.feed_head(user).await?;
    let (position, events) = head.map_or((0, 0), |head| (head.position, head.events));
    output.result(
        format!("Feed of {user}: {events} events in {position} entries since its beginning"),
        || json!({ "feed": user.to_string(), "position": position, "events": events }),
    );
    Ok(())
}

fn row(shard: &str, owner: &str, checkpoint: &str, until: &str, waiting: &str) -> String {
    format!("{shard:<44} {owner:<38} {checkpoint:<26} {until:<14} {waiting}")
}

/// The number of messages after the checkpoint of a shard, which are not fed yet.
#[derive(Debug, Default)]
struct Waiting {
    messages: usize,
    /// Whether the count ended before the end of the shard.
    more: bool,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.messages, if self.more { " or more" } else { "" })
    }
}

/// Counts the messages after the checkpoint of a shard. The consumer continues during the count, so the result is approximate.
async fn waiting<S: StreamSource>(
    source: &S,
    stream: &StreamArn,
    lease: &Lease,
    has_children: bool,
) -> Result<Waiting, StreamError> {
    let position = match &lease.checkpoint {
        Some(Checkpoint::ShardEnd) => return Ok(Waiting::default()),
        Some(Checkpoint::At(number)) => Position::After(number.clone()),
        None | Some(Checkpoint::TrimHorizon | Checkpoint::BehindGap) => Position::TrimHorizon,
    };
    let mut messages = 0;
    let mut next = Some(source.iterator(stream, &lease.shard, &position).await?);
    for _ in 0..MAX_READS {
        let Some(iterator) = next else { return Ok(Waiting { messages, more: false }) };
        let batch = source.records(&iterator).await?;
        // In the last shard, an empty page nearly always means that no records are left. In a shard with children, more records
        // can follow.
        if batch.records.is_empty() && !has_children {
            return Ok(Waiting { messages, more: false });
        }
        let arrived = arrivals(&batch.records);
        messages += arrived.malformed.len() + arrived.groups.iter().map(Vec::len).sum::<usize>();
        next = batch.next;
    }
    Ok(Waiting { messages, more: next.is_some() })
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

/// Returns the number of seconds from `at`, in milliseconds since 1970, to `now`.
fn age(now: DateTime<Utc>, at: i64) -> i64 {
    (now.timestamp_millis().saturating_sub(at) / 1000).max(0)
}

/// Returns the name of the state of the repair.
fn state(repair: &Repair) -> &'static str {
    match (repair.is_pending(), &repair.pass, &repair.complete) {
        (true, Some(_), _) => "running",
        (true, None, _) => "requested",
        (false, _, Some(_)) => "finished",
        (false, _, None) => "none",
    }
}

fn complete_since(repair: &Repair) -> Option<String> {
    let since = DateTime::from_timestamp_millis(repair.complete.as_ref()?.since)?;
    Some(since.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn repair_text(repair: &Repair, now: DateTime<Utc>) -> String {
    let Tally { groups, moved, failed } = repair.tally;
    let done = format!("{groups} groups checked, {moved} moved, {failed} failed");
    let owner = repair.owner.as_deref().unwrap_or("no process");
    let ago = |at: Option<i64>| at.map_or("some time ago".to_owned(), |at| format!("{} s ago", age(now, at)));
    match (state(repair), &repair.pass, &repair.complete) {
        ("running", Some(Pass { started_at, covers, .. }), _) => {
            let again = if repair.requested > *covers { "; another pass follows" } else { "" };
            format!("Repair: started {} and held by {owner}; {done}{again}", ago(Some(*started_at)))
        }
        ("requested", ..) => format!("Repair: requested {}, not started yet", ago(repair.requested_at)),
        ("finished", _, Some(Complete { finished_at, .. })) => {
            let since = complete_since(repair).unwrap_or_default();
            format!("Repair: finished {}; {done}; the lists are complete since {since}", ago(Some(*finished_at)))
        }
        _ => "Repair: none was needed".to_owned(),
    }
}

fn repair_json(repair: &Repair, now: DateTime<Utc>) -> Value {
    let Tally { groups, moved, failed } = repair.tally;
    json!({
        "state": state(repair),
        "owner": repair.owner.as_deref(),
        "requestedSecondsAgo": repair.requested_at.map(|at| age(now, at)),
        "startedSecondsAgo": repair.pass.as_ref().map(|pass| age(now, pass.started_at)),
        "finishedSecondsAgo": repair.complete.as_ref().map(|complete| age(now, complete.finished_at)),
        "anotherPassFollows": repair.pass.as_ref().is_some_and(|pass| repair.requested > pass.covers),
        "groups": groups,
        "moved": moved,
        "failed": failed,
        "completeSince": complete_since(repair),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repair_is_described_in_each_state() {
        let now = DateTime::from_timestamp(1_700_000_100, 0).expect("a time");
        let millis = |second: i64| (1_700_000_000 + second) * 1000;
        let pass = Some(Pass { covers: 1, started_at: millis(20), position: None });
        let complete = Some(Complete { covers: 1, since: millis(20), finished_at: millis(90) });
        let tally = Tally { groups: 7, moved: 2, failed: 1 };
        let (owner, requested_at) = (Some("worker".into()), Some(millis(10)));
        let requested = Repair { requested: 1, requested_at, ..Repair::default() };
        let running = Repair { owner, pass, tally, ..requested.clone() };
        let again = Repair { requested: 2, ..running.clone() };
        let finished = Repair { complete, tally, ..requested.clone() };
        for (repair, state, text) in [
            (Repair::default(), "none", "Repair: none was needed"),
            (requested, "requested", "Repair: requested 90 s ago, not started yet"),
            (running, "running", "Repair: started 80 s ago and held by worker; 7 groups checked, 2 moved, 1 failed"),
            (
                again,
                "running",
                "Repair: started 80 s ago and held by worker; 7 groups checked, 2 moved, 1 failed; another pass follows",
            ),
            (
                finished,
                "finished",
                "Repair: finished 10 s ago; 7 groups checked, 2 moved, 1 failed; the lists are complete since \
                 2023-11-14T22:13:40Z",
            ),
        ] {
            assert_eq!(repair_text(&repair, now), text);
            assert_eq!(repair_json(&repair, now)["state"], state);
        }
    }
}
