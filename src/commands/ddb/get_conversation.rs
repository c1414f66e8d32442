//! `ddb patterns get-conversation`: access pattern A.

use anyhow::Context;
use chrono::{DateTime, Local, NaiveDate, NaiveTime, Utc};
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::cost;
use crate::commands::failure::Refused;
use crate::commands::output::{Output, padded};
use crate::commands::target::Target;
use crate::instant::format_instant;
use crate::messages_table::Direction;
use crate::messaging::Window;
use crate::model::MessageGroupUuid;

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e --year 2026
  cruddur-messaging ddb patterns get-conversation 5f1f3c3a-7d3c-5a52-9d2e-3a5a9b1c2d3e --from 2026-01-01 --to 2026-02-01

`ddb patterns list-conversations HANDLE` prints the uuids. Handles are those at the time of writing.";

#[derive(Args, Debug)]
pub struct Options {
    /// The conversation's uuid
    #[arg(value_name = "GROUP")]
    group: Uuid,
    /// Only messages of this year (UTC)
    #[arg(long, conflicts_with_all = ["from", "to"], value_parser = clap::value_parser!(u16).range(1..9999))]
    year: Option<u16>,
    /// Only messages from this day or instant on: 2026-01-31 or 2026-01-31T18:00:00+01:00; days are UTC's
    #[arg(long, value_parser = instant)]
    from: Option<DateTime<Utc>>,
    /// Only messages before this day or instant
    #[arg(long, value_parser = instant)]
    to: Option<DateTime<Utc>>,
    /// How many messages are printed at most: the newest ones
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "not a day such as 2026-01-31, nor an instant such as 2026-01-31T18:00:00+01:00".to_owned())
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let group = MessageGroupUuid(options.group);
    let window = match options.year {
        Some(year) => {
            let first = |year: u16| {
                let day = NaiveDate::from_ymd_opt(i32::from(year), 1, 1).context("no such year")?;
                anyhow::Ok(Some(day.and_time(NaiveTime::MIN).and_utc()))
            };
            Window { from: first(year)?, to: first(year + 1)? }
        }
        None => Window { from: options.from, to: options.to },
    };
    window.check().map_err(|_| Refused("--to is before --from".to_owned()))?;
    output.say(format!("Conversation {group} in {target}"));
    let table = target.messages_table();
    let limit = usize::try_from(options.limit)?;
    // Whether the group is one of the legacy system is not asked: it would be one more read.
    let kept = |message: &crate::messages_table::Message| window.contains(message.created_at);
    let mut slice = table.messages(group, &window.range(true), Direction::Descending, limit, kept).await?;
    slice.items.reverse();
    let longest = slice.items.iter().map(|message| message.author.names.handle.chars().count()).max().unwrap_or(0);
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
    let (messages, units) = (slice.items.len(), table.consumed());
    let more = if slice.more { ", and there are older ones" } else { "" };
    output.result(
        format!("{messages} messages{more}; {}", cost(units)),
        || json!({ "messages": messages, "more": slice.more, "readUnits": units.read }),
    );
    Ok(())
}
