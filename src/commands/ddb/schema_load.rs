//! `ddb schema-load`: creates the tables, or compares existing tables with the expected ones.

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
    /// Billing mode of the tables
    #[arg(long, value_enum, default_value_t = BillingOption::Provisioned)]
    billing: BillingOption,
    /// Provisioned read units per second, for each table and for the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    read_capacity: i64,
    /// Provisioned write units per second, for each table and for the index
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    write_capacity: i64,
    /// Whether deletion protection should be enabled; `true` enables it, `false` only checks that it is disabled [default:
    /// true with --prod, otherwise not checked]
    #[arg(long)]
    deletion_protection: Option<bool>,
    /// Whether point-in-time recovery should be enabled; `true` enables it, `false` only checks that it is disabled
    /// [default: true with --prod, otherwise not checked]
    #[arg(long)]
    point_in_time_recovery: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BillingOption {
    Provisioned,
    OnDemand,
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let name = &target.table;
    let default = target.is_prod.then_some(true);
    let wanted = Wanted {
        billing: match options.billing {
            BillingOption::OnDemand => Billing::OnDemand,
            BillingOption::Provisioned => {
                Billing::Provisioned { read: options.read_capacity, write: options.write_capacity }
            }
        },
        deletion_protection: options.deletion_protection.or(default),
        point_in_time_recovery: options.point_in_time_recovery.or(default),
    };
    output.say(format!(
        "Creating or checking {target}, and table {} (on AWS, an index takes several minutes)",
        leases_table_name(name)
    ));
    let messages = load_messages_table(&target.aws.dynamodb, name, wanted).await?;
    print(output, name, &messages);
    if !messages.legacy_is_adopted {
        output.say("  note      if the legacy system has written to this table, stop it and run `ddb adopt-legacy`");
    }
    let leases = load_leases_table(&target.aws.dynamodb, name, wanted).await?;
    print(output, &leases_table_name(name), &leases);
    match messages.differences.len() + leases.differences.len() {
        0 => Ok(()),
        some => Err(LeftOver(format!("properties that differ: {some}; `ddb schema-load` does not change them")).into()),
    }
}

fn print(output: Output, name: &str, loaded: &Loaded) {
    let differences: Vec<&str> = loaded.differences.iter().map(String::as_str).collect();
    let state = if loaded.created { "created" } else { "exists" };
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
