//! `ddb scan`: prints the items of the messages table.

use clap::Args;
use serde_json::{Value, json};

use super::summary::summary;
use crate::commands::failure::UsageError;
use crate::commands::output::Output;
use crate::commands::target::{Prod, Target};
use crate::messages_table::attributes::Item;
use crate::messages_table::json::to_json;
use crate::messages_table::keys::{PK, SK};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb scan --limit 20
  cruddur-messaging ddb scan --json | jq .item.message

With --json, each line is {\"item\": …}, and the last line is {\"items\": …, \"more\": …, \"readUnits\": …}.";

#[derive(Args, Debug)]
pub struct Options {
    /// Maximum number of items to print [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Allow the scan with --prod
    #[arg(long)]
    even_in_production: bool,
}

impl Options {
    /// Rejects a scan with `--prod` unless `--even-in-production` is given.
    pub fn check(&self, prod: &Prod, table: &str) -> Result<(), UsageError> {
        if !prod.prod || self.even_in_production {
            return Ok(());
        }
        Err(UsageError(format!(
            "a scan reads every item of {table}: it costs half a read unit for each 4 KB, and uses capacity that users \
             need; use `ddb patterns`, or add --even-in-production (and --limit) to scan nevertheless"
        )))
    }
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    output.say(format!("Scanning {target}"));
    let table = target.messages_table();
    let mut left = options.limit;
    let mut from = None;
    let mut items = 0;
    loop {
        let limit = left.map(|left| i32::try_from(left).unwrap_or(i32::MAX));
        let (page, next) = table.scan_items(from, limit).await?;
        items += page.len();
        left = left.map(|left| left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX)));
        for item in &page {
            output.row(&row(item), || json!({ "item": to_json(item) }));
        }
        from = next;
        if from.is_none() || left == Some(0) {
            break;
        }
    }
    summary(output, ("items", "items"), items, from.is_some(), table.consumed());
    Ok(())
}

/// Returns an item as one line: both keys, then the other attributes.
fn row(item: &Item) -> String {
    let Value::Object(attributes) = to_json(item) else { return String::new() };
    let key = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or_default();
    let others = attributes.iter().filter(|(name, _)| ![PK, SK].contains(&name.as_str()));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}  {}  {}", key(PK), key(SK), others.join(" "))
}
