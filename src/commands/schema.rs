//! `schema`: the SDL, which `schema.graphql` holds.

use std::io::Write;

pub fn run() -> anyhow::Result<()> {
    std::io::stdout().write_all(crate::graphql::sdl().as_bytes())?;
    Ok(())
}
