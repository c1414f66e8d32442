//! `ddb schema-load`

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::commands::failure::LeftOver;
use crate::commands::output::Output;
use crate::commands::target::Target;
use crate::messages_table::schema::{
    Billing, Loaded, Wanted, leases_table_name, load_leases_table, load_messages_table,
};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb schema-load
  cruddur-messaging ddb schema-load --prod --billing on-demand";

#[derive(Args, Debug)]
pub struct Options {
    /// How the capacity is paid for
    #[arg(long, value_enum, default_value_t = BillingMode::Provisioned)]
    billing: BillingMode,
    /// Provisioned read units a second, on the table and on the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    read_capacity: i64,
    /// Provisioned write units a second, on the table and on the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    write_capacity: i64,
    /// Whether the tables are protected from being dropped [default: true with --prod]
    #[arg(long)]
    deletion_protection: Option<bool>,
    /// Whether the messages can be restored to any second of the last weeks [default: true with --prod]
    #[arg(long)]
    point_in_time_recovery: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BillingMode {
    Provisioned,
    OnDemand,
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let name = &target.table;
    let by_default = target.is_prod.then_some(true);
    let wanted = Wanted {
        billing: match options.billing {
            BillingMode::OnDemand => Billing::OnDemand,
            BillingMode::Provisioned => {
                Billing::Provisioned { read: options.read_capacity, write: options.write_capacity }
            }
        },
        deletion_protection: options.deletion_protection.or(by_default),
        point_in_time_recovery: options.point_in_time_recovery.or(by_default),
    };
    output.say(format!("Loading {target}, and its {} (an index takes AWS some minutes)", leases_table_name(name)));
    let messages = load_messages_table(&target.aws.dynamodb, name, wanted).await?;
    tell(output, name, &messages);
    let leases = load_leases_table(&target.aws.dynamodb, name, wanted).await?;
    tell(output, &leases_table_name(name), &leases);
    match messages.differences.len() + leases.differences.len() {
        0 => Ok(()),
        some => Err(LeftOver(format!("{some} differences, which `ddb schema-load` does not change by itself")).into()),
    }
}

fn tell(output: Output, name: &str, loaded: &Loaded) {
    let differences: Vec<&str> = loaded.differences.iter().map(String::as_str).collect();
    let state = if loaded.created { "created" } else { "was there" };
    let mut lines = vec![format!("{name}: {state}, ACTIVE")];
    lines.extend(loaded.matches.iter().map(|it| format!("  matches   {it}")));
    lines.extend(loaded.changed.iter().map(|it| format!("  changed   {it}")));
    lines.extend(differences.iter().map(|it| format!("  DIFFERS   {it}")));
    output.result(lines.join("\n"), || {
        json!({
            "table": name,
            "created": loaded.created,
            "changed": loaded.changed,
            "matches": loaded.matches,
            "differences": differences,
        })
    });
}
