//! `completions` and `man`: generate their output from the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args, Debug)]
pub struct Completions {
    /// Name of the shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub struct Man {
    /// Folder to which the command writes one page for each command [default: print the main page to standard output]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

pub fn completions(options: &Completions, mut command: Command) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    io::stdout().write_all(&script).context("cannot write to standard output")
}

pub fn man(options: &Man, command: Command) -> anyhow::Result<()> {
    match &options.out_dir {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("cannot write to --out-dir {}", folder.display()))?;
            clap_mangen::generate_to(command, folder)
                .with_context(|| format!("cannot write to --out-dir {}", folder.display()))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            io::stdout().write_all(&page).context("cannot write to standard output")
        }
    }
}
