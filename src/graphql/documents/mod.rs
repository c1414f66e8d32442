//! Documents, prepared: parsed, validated and measured once, and kept.
//!
//! The engine's own validation lets through what the specification forbids (a required variable that is missing, a
//! variable that does not fit its position, fields that do not merge), and parses and validates every request anew. So a
//! document is validated by apollo-compiler, whose rules are the specification's, and the engine executes what is valid.

mod cost;
mod measure;
mod merged;
mod operation;
mod persisted;
mod values;

use std::sync::Arc;

use apollo_compiler::ast::VariableDefinition;
use apollo_compiler::executable::Operation;
use apollo_compiler::parser::{Parser, SourceMap};
use apollo_compiler::request::{RequestError, coerce_variable_values};
use apollo_compiler::response::{GraphQLError, JsonMap, JsonValue};
use apollo_compiler::validation::{DiagnosticList, Valid};
use apollo_compiler::{ExecutableDocument, Name, Node, Schema};
use async_graphql::parser::parse_query;
use async_graphql::parser::types::ExecutableDocument as EngineDocument;
use async_graphql::{Pos, Request, ServerError, Variables};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

pub use self::measure::MOST_NESTED;
use self::merged::{is_true, merged};
pub use self::operation::{Chosen, Facts};
use self::operation::{FactsByName, facts};
pub use self::persisted::{Asked, TrustedDocuments};
use super::errors::{Code, coded_error};
use crate::config::limits::DocumentLimits;
use crate::metrics::CacheCounts;
use crate::shortened;

/// How much memory prepared documents may take, in bytes.
const CACHE_SIZE: u64 = 16 * 1024 * 1024;
/// How many documents of an ordinary size that is.
const CACHED_DOCUMENTS: usize = 2_000;
/// A prepared document takes so much memory however short it is, so many times the memory of its text, and so much for
/// each selection where they are merged.
const LEAST_WEIGHT: u64 = 2_600;
const WEIGHT_OF_TEXT: u64 = 20;
const WEIGHT_OF_SELECTION: u64 = 600;
/// For how many combinations of its conditions a document is kept merged.
const KEPT_COMBINATIONS: usize = 4;
/// How deep the parser descends, into values too, before it gives up; its stack bears that.
const MOST_NESTED_SOURCE: usize = 100;
/// What is wrong may quote the client's own text: so many characters of it.
const LONGEST_MESSAGE: usize = 500;
/// A document that is wrong in many ways is told so many of them.
const MOST_ERRORS: usize = 10;

/// Prepares documents, and keeps them.
pub struct Documents {
    schema: Valid<Schema>,
    limits: DocumentLimits,
    introspection: bool,
    prepared: Cache<Arc<str>, Arc<Prepared>, Weight>,
    looks: CacheCounts,
    persisted: persisted::Persisted,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Arc<str>, Arc<Prepared>> for Weight {
    fn weight(&self, _: &Arc<str>, prepared: &Arc<Prepared>) -> u64 {
        prepared.weight
    }
}

/// A valid document within its limits.
pub struct Prepared {
    document: Valid<ExecutableDocument>,
    executed: Executed,
    /// Whether that is the client's own text, or a print of what it means.
    is_as_sent: bool,
    /// About how much memory all of this takes, in bytes.
    weight: u64,
    facts: FactsByName,
    /// The variables that `@skip` and `@include` hang on.
    conditions: Vec<Name>,
}

/// What the engine executes.
enum Executed {
    /// The same for every request.
    Always(EngineDocument),
    /// Which selections are merged hangs on the values of the conditions.
    ByConditions(Cache<Vec<bool>, Arc<EngineDocument>>),
}

/// Why a request is not executed.
#[derive(Debug)]
pub struct Refused(pub Vec<ServerError>);

impl Refused {
    fn one(reason: &str, message: impl Into<String>) -> Self {
        Self(vec![coded_error(Code::BadUserInput, Some(reason), message)])
    }

    fn limit(what: &str, reason: &str, most: impl std::fmt::Display) -> Self {
        Self::one(reason, format!("The document has more than {most} {what}."))
    }
}

impl Documents {
    /// Prepares documents of the schema that `sdl` describes. With `trusted` only those of its manifest run.
    ///
    /// # Errors
    /// A schema that is not valid, or a document of the manifest that is not: both are faults of this program or of whoever
    /// wrote the manifest, told in one line.
    pub fn new(
        sdl: &str,
        limits: DocumentLimits,
        introspection: bool,
        trusted: Option<TrustedDocuments>,
    ) -> Result<Self, String> {
        let schema = Schema::parse_and_validate(sdl, "schema.graphql").map_err(|error| error.errors.to_string())?;
        let prepared = Cache::with_weighter(CACHED_DOCUMENTS, CACHE_SIZE, Weight);
        let persisted = persisted::Persisted::new(trusted);
        let documents =
            Self { schema, limits, introspection, prepared, looks: CacheCounts::new("documents"), persisted };
        for (id, text) in documents.persisted.trusted() {
            documents.prepare(text).map_err(|Refused(errors)| {
                let first = errors.first().map(|error| error.message.clone()).unwrap_or_default();
                format!("its document {id} is not valid: {first}")
            })?;
        }
        Ok(documents)
    }

    /// The document that a request asks for, prepared.
    pub fn find(&self, asked: &Asked) -> Result<Arc<Prepared>, Refused> {
        let text = self.persisted.text(asked)?;
        let prepared = self.prepare(&text)?;
        self.persisted.remember(asked, &text);
        Ok(prepared)
    }

    fn prepare(&self, text: &str) -> Result<Arc<Prepared>, Refused> {
        let kept = self.prepared.get(text);
        self.looks.count(kept.is_some());
        if let Some(prepared) = kept {
            return Ok(prepared);
        }
        let prepared = Arc::new(self.prepare_anew(text)?);
        self.prepared.insert(text.into(), prepared.clone());
        Ok(prepared)
    }

    fn prepare_anew(&self, text: &str) -> Result<Prepared, Refused> {
        let limits = &self.limits;
        if text.len() > limits.bytes {
            return Err(Refused::limit("bytes", "max_document_exceeded", limits.bytes));
        }
        let mut parser = Parser::new().token_limit(limits.tokens).recursion_limit(MOST_NESTED_SOURCE);
        let parsed = parser.parse_executable(&self.schema, text, "document");
        if parser.tokens_reached() > limits.tokens {
            return Err(Refused::limit("tokens", "max_tokens_exceeded", limits.tokens));
        }
        if parser.recursion_reached() > MOST_NESTED_SOURCE {
            return Err(too_nested(MOST_NESTED_SOURCE));
        }
        let mut document = parsed.map_err(|error| invalid(&error.errors))?;
        // Before anything walks a fragment anew at every spread.
        measure::check(&document, limits)?;
        if !self.introspection && measure::introspects(&document) {
            return Err(Refused::one("introspection_disabled", "Introspection is switched off."));
        }
        forget_null_defaults(&mut document);
        let document = document.validate(&self.schema).map_err(|error| invalid(&error.errors))?;
        values::check(&self.schema, &document)?;
        let conditions = values::conditions(&document);
        let merged = merged(&document, None);
        let mut weight = LEAST_WEIGHT + text.len() as u64 * WEIGHT_OF_TEXT;
        // The engine's parser lacks parts of the language, such as descriptions and \u{…}, and reads block strings wrong: then
        // it gets the document printed without them.
        let as_sent = if merged.is_needed || text.contains("\"\"\"") { None } else { parse_query(text).ok() };
        let is_as_sent = as_sent.is_some();
        let executed = if !merged.is_needed {
            Executed::Always(as_sent.map_or_else(|| engine_document(&document), Ok)?)
        } else if conditions.is_empty() {
            weight += merged.selections as u64 * WEIGHT_OF_SELECTION;
            Executed::Always(engine_document(&merged.document)?)
        } else {
            weight += (KEPT_COMBINATIONS * merged.selections) as u64 * WEIGHT_OF_SELECTION;
            Executed::ByConditions(Cache::new(KEPT_COMBINATIONS))
        };
        let facts = facts(&document);
        Ok(Prepared { document, executed, is_as_sent, weight, facts, conditions })
    }

    /// The request of an operation, its variables coerced.
    pub fn request(&self, chosen: &Chosen<'_>, variables: serde_json::Map<String, Value>) -> Result<Request, Refused> {
        let Chosen { prepared, operation, facts } = chosen;
        let coerced = if operation.variables.is_empty() {
            JsonMap::new()
        } else {
            let given: JsonMap =
                variables.into_iter().map(|(name, it)| (name.into(), values::integers(it).into())).collect();
            let coerced = coerce_variable_values(&self.schema, operation, &given)
                .map_err(|error| of_request(&error, &prepared.document.sources))?
                .into_inner();
            values::check_variables(&self.schema, operation, &coerced)?;
            if let Some(name) =
                prepared.conditions.iter().find(|name| coerced.get(name.as_str()).is_some_and(|it| it.is_null()))
            {
                let message = format!("@skip and @include need a value, and ${name} is null.");
                return Err(Refused(vec![request_invalid(message, Vec::new())]));
            }
            coerced
        };
        let cost = chosen.cost(&coerced);
        if cost > self.limits.cost {
            return Err(Refused::one(
                "max_cost_exceeded",
                format!(
                    "The operation costs {cost}, and at most {} is allowed: ask for smaller pages.",
                    self.limits.cost
                ),
            ));
        }
        let executed = prepared.executed(&coerced)?;
        let variables = values::engine(JsonValue::Object(coerced));
        let mut request = Request::new("").variables(Variables::from_value(variables));
        request.set_parsed_query(executed);
        request.operation_name.clone_from(&facts.name);
        Ok(request)
    }
}

impl Prepared {
    /// What the engine executes with these variables.
    fn executed(&self, variables: &JsonMap) -> Result<EngineDocument, Refused> {
        let known = match &self.executed {
            Executed::Always(document) => return Ok(document.clone()),
            Executed::ByConditions(known) => known,
        };
        let values: Vec<bool> = self.conditions.iter().map(|name| is_true(variables, name)).collect();
        if let Some(document) = known.get(&values) {
            return Ok((*document).clone());
        }
        let document = engine_document(&merged(&self.document, Some(variables)).document)?;
        known.insert(values, Arc::new(document.clone()));
        Ok(document)
    }
}

fn too_nested(most: usize) -> Refused {
    Refused::limit("selections or values nested in each other", "max_nesting_exceeded", most)
}

/// A document as the engine has it, by way of what its parser knows.
fn engine_document(document: &ExecutableDocument) -> Result<EngineDocument, Refused> {
    // What is nested deeper than its parser goes was refused when it was measured.
    parse_query(plain(document)).map_err(|error| Refused(vec![request_invalid(error.to_string(), Vec::new())]))
}

fn operations_mut(document: &mut ExecutableDocument) -> impl Iterator<Item = &mut Node<Operation>> {
    document.operations.anonymous.iter_mut().chain(document.operations.named.values_mut())
}

/// A default of null does not make a variable fit where null cannot be: validation goes by there being a default.
fn forget_null_defaults(document: &mut ExecutableDocument) {
    let is_null = |variable: &VariableDefinition| {
        !variable.ty.is_non_null() && variable.default_value.as_ref().is_some_and(|it| it.is_null())
    };
    for operation in operations_mut(document) {
        if operation.variables.iter().any(|variable| is_null(variable)) {
            for variable in operation.make_mut().variables.iter_mut().filter(|variable| is_null(variable)) {
                variable.make_mut().default_value = None;
            }
        }
    }
}

/// The document without what the engine's parser does not know.
fn plain(document: &ExecutableDocument) -> String {
    let mut plain = document.clone();
    for operation in operations_mut(&mut plain) {
        let operation = operation.make_mut();
        operation.description = None;
        for variable in &mut operation.variables {
            variable.make_mut().description = None;
        }
    }
    for fragment in plain.fragments.values_mut() {
        fragment.make_mut().description = None;
    }
    plain.to_string()
}

fn invalid(errors: &DiagnosticList) -> Refused {
    let errors = errors.iter().take(MOST_ERRORS).map(|error| of_graphql(error.to_json()));
    Refused(errors.collect())
}

fn of_request(error: &RequestError, sources: &SourceMap) -> Refused {
    Refused(vec![of_graphql(error.to_graphql_error(sources))])
}

fn of_graphql(error: GraphQLError) -> ServerError {
    let locations = error.locations.iter().map(|at| Pos { line: at.line, column: at.column }).collect();
    request_invalid(error.message, locations)
}

fn request_invalid(mut message: String, locations: Vec<Pos>) -> ServerError {
    let shown = shortened(&message, LONGEST_MESSAGE).len();
    if shown < message.len() {
        message.truncate(shown);
        message.push('…');
    }
    let mut error = coded_error(Code::BadUserInput, Some("request_invalid"), message);
    error.locations = locations;
    error
}
