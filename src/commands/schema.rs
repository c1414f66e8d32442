//! `schema`: prints the GraphQL schema, which is also in `schema.graphql`.

use std::io::Write;

pub fn run() -> anyhow::Result<()> {
    std::io::stdout().write_all(crate::graphql::sdl().as_bytes())?;
    Ok(())
}
