//! Direct messages for a social app: a GraphQL API over one DynamoDB table and the users table in Postgres, and the
//! stream consumer that moves a conversation to the top of both lists when a message arrives.
//!
//! `ARCHITECTURE.md` draws the map of these modules and walks a message through them.

pub mod app;
pub mod auth;
pub mod aws;
pub mod cognito;
pub mod commands;
pub mod config;
pub mod documents;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod environment;
pub mod graphql;
pub mod http;
pub mod instant;
pub mod messages_table;
pub(crate) mod messaging;
pub mod metrics;
pub mod model;
pub mod outcome;
mod preflight;
pub mod seed;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod users;

/// The beginning of a text.
pub fn shortened(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// An error with its causes in one line, for the log.
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
