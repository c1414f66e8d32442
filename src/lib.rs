//! Direct messages for a social app: a GraphQL API over one DynamoDB table and the users table in Postgres, and the
//! stream consumer that moves a message group to the top of both participants' lists when a message arrives.
//!
//! `ARCHITECTURE.md` shows how these modules depend on each other and follows a message through them.

pub mod adoption;
pub mod app;
pub(crate) mod auth;
pub mod aws;
pub(crate) mod backoff;
pub(crate) mod cognito;
pub mod commands;
pub mod config;
pub mod documents;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod environment;
pub mod graphql;
pub(crate) mod http;
pub mod instant;
pub mod live;
pub mod messages_table;
pub(crate) mod messaging;
pub(crate) mod metrics;
pub mod model;
pub mod outcome;
mod preflight;
pub mod registration;
mod running;
pub mod seed;
pub mod shutdown;
pub mod stream;
mod task;
pub(crate) mod telemetry;
pub mod users;

/// Returns at most the first `characters` characters of a text.
pub fn shortened(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// Formats an error and its sources as one line for the log. Skips a source whose text ends the line already.
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let source = error.to_string();
        if !text.ends_with(&source) {
            text = format!("{text}: {source}");
        }
        next = error.source();
    }
    text
}
