//! `ddb drop`: deletes the tables.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::commands::failure::UsageError;
use crate::commands::output::Output;
use crate::commands::target::Target;
use crate::messages_table::schema::{drop_table, leases_table_name};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging ddb drop
  cruddur-messaging ddb drop --prod --confirm cruddur-messages";

#[derive(Args, Debug)]
pub struct Options {
    /// Name of the messages table; confirms the deletion with --prod [default: read from standard input]
    #[arg(long, value_name = "TABLE")]
    confirm: Option<String>,
}

pub async fn run(target: &Target, output: Output, options: &Options) -> anyhow::Result<()> {
    let name = &target.table;
    output.say(format!("Dropping {target}, and table {}", leases_table_name(name)));
    if target.is_prod {
        let confirmed = match &options.confirm {
            Some(confirmed) => confirmed.clone(),
            None => tokio::task::block_in_place(|| read_confirmation(name))?,
        };
        if confirmed != *name {
            return Err(UsageError(format!(
                "nothing was dropped: with --prod, --confirm must be the table's name {name}, got \"{confirmed}\""
            ))
            .into());
        }
    }
    let mut dropped = 0;
    for name in [name.clone(), leases_table_name(name)] {
        let existed = drop_table(&target.aws.dynamodb, &name).await?;
        dropped += usize::from(existed);
        let state = if existed { "dropped" } else { "does not exist" };
        output.result(format!("{name}: {state}"), || json!({ "table": name, "dropped": existed }));
    }
    if dropped == 0 {
        bail!("table {name} does not exist: check DDB_MESSAGE_TABLE");
    }
    Ok(())
}

/// Reads the table's name from standard input, with a prompt if it is a terminal.
fn read_confirmation(name: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr().lock();
        write!(stderr, "This deletes all messages. To confirm, type the table's name {name}: ")?;
        stderr.flush()?;
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
