//! `ddb drop`

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::commands::failure::Refused;
use crate::commands::output::Output;
use crate::commands::target::Target;
use crate::messages_table::schema::{drop_table, leases_table_name};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb drop
  cruddur-messaging ddb drop --prod --confirm cruddur-messages";

#[derive(Args, Debug)]
pub struct Options {
    /// The table's name once more, which is asked for with --prod
    #[arg(long, value_name = "TABLE")]
    confirm: Option<String>,
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let name = &target.table;
    output.say(format!("Dropping {target}, and its {}", leases_table_name(name)));
    if target.is_prod {
        let confirmed = match &options.confirm {
            Some(confirmed) => confirmed.clone(),
            None => tokio::task::block_in_place(|| ask(name))?,
        };
        if confirmed != *name {
            return Err(Refused(format!(
                "nothing is dropped: with --prod the table's name is asked for (--confirm), and \"{confirmed}\" is not {name}"
            ))
            .into());
        }
    }
    let mut dropped = 0;
    for name in [name.clone(), leases_table_name(name)] {
        let was_there = drop_table(&target.aws.dynamodb, &name).await?;
        dropped += usize::from(was_there);
        let what = if was_there { "dropped" } else { "was not there" };
        output.result(format!("{name}: {what}"), || json!({ "table": name, "dropped": was_there }));
    }
    if dropped == 0 {
        bail!("table {name} is not there: is DDB_MESSAGE_TABLE right?");
    }
    Ok(())
}

/// Asks a person, or takes a line that a program gives.
fn ask(name: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr().lock();
        write!(stderr, "All its messages are lost. Type the table's name, {name}, to drop it: ")?;
        stderr.flush()?;
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
