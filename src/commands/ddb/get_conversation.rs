//! `ddb patterns get-conversation`: prints the messages of a group (access pattern A).

use anyhow::Context;
use chrono::{DateTime, Local, NaiveDate, NaiveTime, Utc};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::summary::summary;
use crate::commands::failure::UsageError;
use crate::commands::output::{Output, columns, padded};
use crate::commands::target::Target;
use crate::instant::format_instant;
use crate::messages_table::{Direction, Message};
use crate::messaging::Window;
use crate::model::MessageGroupUuid;

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e --year 2026
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e --from 2026-01-01 --to 2026-02-01

`ddb patterns list-conversations HANDLE` prints the uuids. The handle of an author is the handle at the time of the message.";

#[derive(Args, Debug)]
pub struct Options {
    /// Uuid of the message group
    #[arg(value_name = "GROUP", value_parser = uuid)]
    group: Uuid,
    /// Print only messages of this year (UTC)
    #[arg(long, conflicts_with_all = ["from", "to"], value_parser = clap::value_parser!(u16).range(1..9999))]
    year: Option<u16>,
    /// Print only messages at or after this day (UTC) or time: 2026-01-31 or 2026-01-31T18:00:00+01:00
    #[arg(long, value_parser = instant)]
    from: Option<DateTime<Utc>>,
    /// Print only messages before this day (UTC) or time
    #[arg(long, value_parser = instant)]
    to: Option<DateTime<Utc>>,
    /// Maximum number of messages to print
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

fn uuid(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "must be a uuid; `ddb patterns list-conversations` prints the uuids")
}

fn instant(text: &str) -> Result<DateTime<Utc>, &'static str> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "must be a day such as 2026-01-31 or a time such as 2026-01-31T18:00:00+01:00")
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let group = MessageGroupUuid(options.group);
    let window = match options.year {
        Some(year) => {
            let first = |year: u16| {
                let day = NaiveDate::from_ymd_opt(i32::from(year), 1, 1).context("the year is out of range")?;
                anyhow::Ok(Some(day.and_time(NaiveTime::MIN).and_utc()))
            };
            Window { from: first(year)?, to: first(year + 1)? }
        }
        None => Window { from: options.from, to: options.to },
    };
    window.check().map_err(|_| UsageError("--to must not be before --from".to_owned()))?;
    output.say(format!("Conversation {group} in {target}"));
    let table = target.messages_table();
    let limit = usize::try_from(options.limit)?;
    // The wider range for legacy groups is always read, because checking whether the group is one would cost one more read.
    let kept = |message: &Message| window.contains(message.created_at);
    let mut slice = table.messages(group, &window.range(true), Direction::Descending, limit, kept).await?;
    slice.items.reverse();
    let longest = slice.items.iter().map(|message| columns(&message.author.names.handle)).max().unwrap_or(0);
    for message in &slice.items {
        let at = message.created_at.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %:z");
        let handle = padded(&message.author.names.handle, longest);
        output.row(&format!("{at}  {handle}  {}", message.body), || {
            json!({
                "message": {
                    "uuid": message.uuid.to_string(),
                    "authorUuid": message.author.uuid.to_string(),
                    "handle": message.author.names.handle,
                    "createdAt": format_instant(message.created_at),
                    "body": message.body,
                }
            })
        });
    }
    summary(output, ("messages", "messages"), slice.items.len(), slice.more, table.consumed());
    Ok(())
}
