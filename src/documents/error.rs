//! Why a document is not executed. Each stage has its own error; none of them knows about HTTP.

use std::fmt;

use apollo_compiler::parser::SourceMap;
use apollo_compiler::request::RequestError;
use apollo_compiler::response::GraphQLError;
use apollo_compiler::validation::DiagnosticList;
use async_graphql::Pos;

use crate::shortened;

/// Maximum number of characters of a violation's message, because it can quote the document of the client.
const MAX_MESSAGE_CHARS: usize = 500;
/// Maximum number of violations that are reported for one document.
const MAX_VIOLATIONS: usize = 10;

/// Why a request is not executed, by the stage that rejected it.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The document could not be found.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The text is not a document, or it is too large.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The document exceeds a limit.
    #[error(transparent)]
    Measure(#[from] LimitExceeded),
    /// The document does not fit the schema.
    #[error(transparent)]
    Validate(#[from] ValidateError),
    /// The operation or its variables do not fit the document.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl DocumentError {
    /// The value of `extensions.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Lookup(error) => error.reason(),
            Self::Parse(ParseError::Limit(error)) | Self::Measure(error) => error.limit.reason(),
            Self::Validate(ValidateError::IntrospectionDisabled) => "introspection_disabled",
            Self::Plan(PlanError::TooExpensive { .. }) => "max_cost_exceeded",
            Self::Parse(ParseError::Syntax(_))
            | Self::Validate(ValidateError::Rules(_))
            | Self::Plan(PlanError::Rules(_)) => "request_invalid",
        }
    }

    /// The violated rules of the specification, each of which is an error of its own; empty if the error is not about them.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Parse(ParseError::Syntax(violations))
            | Self::Validate(ValidateError::Rules(violations))
            | Self::Plan(PlanError::Rules(violations)) => &violations.0,
            _ => &[],
        }
    }
}

/// Why the document of a request could not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The request has no document.
    #[error("`query` is missing. It must be a string.")]
    Missing,
    /// The hash is not that of the document. Apollo's protocol of persisted queries.
    #[error("`extensions.persistedQuery.sha256Hash` is not the hash of `query`.")]
    HashMismatch,
    /// Clients recognise this message of Apollo's protocol and send the document again.
    #[error("PersistedQueryNotFound")]
    NotPersisted,
    /// The server has a manifest of trusted documents, and this document is not in it.
    #[error("This server executes only the documents of its manifest, and this document is not in it.")]
    NotTrusted,
}

impl LookupError {
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "parameters_invalid",
            Self::HashMismatch => "persisted_query_mismatch",
            Self::NotPersisted => "persisted_query_not_found",
            Self::NotTrusted => "document_not_trusted",
        }
    }
}

/// Why a text was not parsed.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The text exceeds a limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The text is not a GraphQL document, or it names fields or types that the schema does not have.
    #[error(transparent)]
    Syntax(Violations),
}

/// Why a document was not validated.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The document selects `__schema` or `__type`.
    #[error("Introspection is disabled on this server.")]
    IntrospectionDisabled,
    /// The document violates rules of the specification.
    #[error(transparent)]
    Rules(#[from] Violations),
}

/// Why an operation was not planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is no such operation, or the variables do not fit it.
    #[error(transparent)]
    Rules(#[from] Violations),
    /// The operation costs more than the limit.
    #[error("The operation costs {cost}, and the maximum is {maximum}. Request smaller pages or fewer fields.")]
    TooExpensive {
        /// Cost of the operation with its variables.
        cost: u64,
        /// The limit.
        maximum: u64,
    },
}

/// The property of a document that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of the text.
    Bytes,
    /// Tokens of the text.
    Tokens,
    /// Selections or values that are nested in each other.
    Nesting,
    /// Fragment definitions.
    Fragments,
    /// Selections after the fragments are expanded.
    Selections,
    /// Fields that are nested in each other.
    Depth,
    /// Aliases after the fragments are expanded.
    Aliases,
    /// Directives.
    Directives,
}

impl Limit {
    fn reason(self) -> &'static str {
        match self {
            Self::Bytes => "max_document_exceeded",
            Self::Tokens => "max_tokens_exceeded",
            Self::Nesting => "max_nesting_exceeded",
            Self::Fragments => "max_fragments_exceeded",
            Self::Selections => "max_selections_exceeded",
            Self::Depth => "max_depth_exceeded",
            Self::Aliases => "max_aliases_exceeded",
            Self::Directives => "max_directives_exceeded",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Tokens => "tokens",
            Self::Nesting => "selections or values nested in each other",
            Self::Fragments => "fragments",
            Self::Selections => "selections after its fragments are expanded",
            Self::Depth => "levels of fields",
            Self::Aliases => "aliases after its fragments are expanded",
            Self::Directives => "directives",
        })
    }
}

/// A document exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The document has more than {maximum} {limit}.")]
pub struct LimitExceeded {
    /// The limit that the document exceeds.
    pub limit: Limit,
    /// The maximum.
    pub maximum: usize,
}

/// A violated rule of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub message: String,
    /// Where it is in the document.
    pub locations: Vec<Pos>,
}

/// The violated rules of one document, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.first().map(|it| it.message.as_str()).unwrap_or_default())]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// One violation that has no location.
    pub(super) fn one(message: impl Into<String>) -> Self {
        Self(vec![Violation { message: message.into(), locations: Vec::new() }])
    }

    pub(super) fn of_request(error: &RequestError, sources: &SourceMap) -> Self {
        Self(vec![error.to_graphql_error(sources).into()])
    }
}

impl From<&DiagnosticList> for Violations {
    fn from(diagnostics: &DiagnosticList) -> Self {
        Self(diagnostics.iter().take(MAX_VIOLATIONS).map(|diagnostic| diagnostic.to_json().into()).collect())
    }
}

impl From<GraphQLError> for Violation {
    fn from(error: GraphQLError) -> Self {
        let locations = error.locations.iter().map(|at| Pos { line: at.line, column: at.column }).collect();
        let mut message = error.message;
        let end = shortened(&message, MAX_MESSAGE_CHARS).len();
        if end < message.len() {
            message.truncate(end);
            message.push('…');
        }
        Self { message, locations }
    }
}
