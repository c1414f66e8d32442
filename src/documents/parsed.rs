//! Stage 1: from the text of a document to its syntax tree.

use apollo_compiler::parser::Parser;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};

use super::error::{Limit, LimitExceeded, ParseError, Violations};
use crate::config::DocumentLimits;

/// Maximum depth to which the parser recurses, also into values. The stack of a thread suffices for it.
const MAX_SOURCE_NESTING: usize = 100;

/// A document whose syntax is correct and whose fields are in the schema.
pub struct Parsed(pub(super) ExecutableDocument);

/// Parses `text`.
pub fn parse(schema: &Valid<Schema>, limits: &DocumentLimits, text: &str) -> Result<Parsed, ParseError> {
    let exceeded = |limit, maximum| Err(LimitExceeded { limit, maximum }.into());
    if text.len() > limits.bytes {
        return exceeded(Limit::Bytes, limits.bytes);
    }
    let mut parser = Parser::new().token_limit(limits.tokens).recursion_limit(MAX_SOURCE_NESTING);
    let parsed = parser.parse_executable(schema, text, "document");
    if parser.tokens_reached() > limits.tokens {
        return exceeded(Limit::Tokens, limits.tokens);
    }
    if parser.recursion_reached() > MAX_SOURCE_NESTING {
        return exceeded(Limit::Nesting, MAX_SOURCE_NESTING);
    }
    parsed.map(Parsed).map_err(|error| ParseError::Syntax(Violations::from(&error.errors)))
}
