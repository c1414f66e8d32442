//! `ddb adopt-legacy`: writes the pair and membership items of all legacy groups, and then the marker.

use clap::Args;
use serde_json::json;

use super::summary::cost;
use crate::adoption::{Adopted, Adopter};
use crate::commands::failure::LeftOver;
use crate::commands::output::Output;
use crate::commands::target::Target;
use crate::environment::SystemEnvironment;
use crate::messages_table::schema::{describe, provisioned_units};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb adopt-legacy
  cruddur-messaging ddb adopt-legacy --prod --units-per-second 200

With --json, each line is {\"malformed\": …} or {\"group\": …, \"failed\": …}, and the last line is the summary.";

/// Maximum number of attempts of a call during an outage. They take about a minute.
const OUTAGE_TRIES: u32 = 12;
/// Number of rows and groups after which the command prints its progress.
const PROGRESS_INTERVAL: usize = 10_000;
/// Default number of units per second for a table that is billed by request.
const ON_DEMAND_UNITS: f64 = 100.0;

#[derive(Args, Debug)]
pub struct Options {
    /// Maximum number of read units, and of write units, to consume per second [default: half of the provisioned capacity, or
    /// 100 for a table with on-demand billing]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    units_per_second: Option<u32>,
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    output.say(format!("Adopting the legacy groups of {target}"));
    let table = target.messages_table();
    let units_per_second = match options.units_per_second {
        Some(units) => f64::from(units),
        None => {
            let found = describe(&target.aws.dynamodb, &target.table).await?;
            let provisioned = found.as_ref().and_then(provisioned_units);
            provisioned.map_or(ON_DEMAND_UNITS, |units| units.max(1) as f64 / 2.0)
        }
    };
    let adopter =
        Adopter { table: &table, environment: &SystemEnvironment, outage_tries: OUTAGE_TRIES, units_per_second };
    let mut reported = (0, 0);
    let report_progress = |done: &Adopted| {
        let Adopted { passes, rows, groups, adopted, .. } = done;
        let before = if reported.0 == *passes { reported.1 } else { 0 };
        if rows + groups >= before + PROGRESS_INTERVAL {
            reported = (*passes, rows + groups);
            output.say(format!("pass {passes}: {rows} rows read, {groups} groups checked, {adopted} adopted"));
        }
    };
    let done = adopter.all(report_progress).await?;
    for problem in &done.malformed {
        output.result(format!("malformed row: {problem}"), || json!({ "malformed": problem }));
    }
    for (group, reason) in &done.failed {
        output.result(format!("group {group}: {reason}"), || json!({ "group": group.to_string(), "failed": reason }));
    }
    let Adopted { rows, groups, adopted, is_complete, .. } = done;
    let (malformed, failed, units) = (done.malformed.len(), done.failed.len(), table.consumed());
    let state = if is_complete { "complete" } else { "not complete" };
    let text = format!(
        "{state}: {rows} rows read, {malformed} malformed; {groups} legacy groups checked, {adopted} adopted, {failed} failed; \
         {}",
        cost(units)
    );
    output.result(text, || {
        json!({
            "complete": is_complete,
            "rows": rows,
            "malformed": malformed,
            "groups": groups,
            "adopted": adopted,
            "failed": failed,
            "readUnits": units.read,
            "writeUnits": units.write,
        })
    });
    let left_over = match (failed, is_complete, malformed) {
        (0, true, 0) => return Ok(()),
        (0, true, some) => format!(
            "{some} malformed rows were skipped, as requests skip them; if you correct them, run the command again"
        ),
        (0, false, _) => "the legacy system still writes: stop it and run the command again".to_owned(),
        (some, _, _) => format!(
            "{some} groups could not be adopted, and requests still look for legacy rows; correct them and run the command again"
        ),
    };
    Err(LeftOver(left_over).into())
}
