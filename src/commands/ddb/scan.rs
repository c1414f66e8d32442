//! `ddb scan`

use clap::Args;
use serde_json::{Value, json};

use super::cost;
use crate::commands::failure::Refused;
use crate::commands::output::Output;
use crate::commands::target::{Prod, Target};
use crate::messages_table::items::Item;
use crate::messages_table::json::to_json;
use crate::messages_table::keys::{PK, SK};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb scan --limit 20
  cruddur-messaging ddb scan --json | jq .item.message

With --json each line is {\"item\": …}, and the last one {\"items\": …, \"more\": …, \"readUnits\": …}.";

#[derive(Args, Debug)]
pub struct Options {
    /// How many items are printed at most
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Read a production table, too
    #[arg(long)]
    even_in_production: bool,
}

impl Options {
    pub fn check(&self, prod: Prod, table: &str) -> Result<(), Refused> {
        if !prod.prod || self.even_in_production {
            return Ok(());
        }
        Err(Refused(format!(
            "a scan reads, and AWS charges for, every item of {table}: half a read unit for each 4 KB, taken from what \
             users need; `ddb patterns` read what they show; --even-in-production scans all the same, and --limit bounds it"
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
    let (more, units) = (from.is_some(), table.consumed());
    let text = format!("{items} items{}; {}", if more { ", and there are more" } else { "" }, cost(units));
    output.result(text, || json!({ "items": items, "more": more, "readUnits": units.read }));
    Ok(())
}

/// Both keys, and what else there is.
fn row(item: &Item) -> String {
    let Value::Object(attributes) = to_json(item) else { return String::new() };
    let key = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or_default();
    let others = attributes.iter().filter(|(name, _)| ![PK, SK].contains(&name.as_str()));
    let others: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}  {}  {}", key(PK), key(SK), others.join(" "))
}
