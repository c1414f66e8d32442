//! From the text of a request to a plan that can be executed. A text goes through four stages, each a function with its own
//! type and error:
//!
//! ```text
//! text ─ parse ─▶ Parsed ─ measure ─▶ Measured ─ validate ─▶ Validated ─ choose, plan ─▶ Plan
//!                                                            kept in a cache              for each request
//! ```
//!
//! apollo-compiler parses and validates, because its rules are those of the specification. The engine's own validation
//! accepts documents that the specification forbids, such as one with a missing required variable, and it validates each
//! request again. The engine executes only what a [`Plan`] has.

mod cost;
mod custom_scalars;
mod error;
mod literals;
mod measured;
mod parsed;
mod persisted;
mod planned;
mod validated;
mod variables;

use std::sync::Arc;

use apollo_compiler::Schema;
pub use apollo_compiler::executable::OperationType;
use apollo_compiler::validation::Valid;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

pub use self::error::{DocumentError, Violation};
use self::measured::measure;
use self::parsed::parse;
use self::persisted::PersistedDocuments;
pub use self::persisted::{DocumentRequest, ManifestError, PersistedQueryError, TrustedDocuments};
use self::planned::choose;
pub use self::planned::{ChosenOperation, Plan};
pub use self::validated::OperationInfo;
use self::validated::{Validated, validate};
use crate::config::DocumentLimits;
use crate::metrics::CacheCounts;

/// Maximum memory of the cache of validated documents, in bytes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// About how many documents of an ordinary size fit into the cache.
const CACHED_DOCUMENTS: usize = 1_000;
/// Estimated memory of a validated document, in bytes: of the shortest one, for each byte of its text, and for each
/// selection of a merged operation.
const BASE_WEIGHT: u64 = 3_000;
const WEIGHT_OF_BYTE: u64 = 20;
const WEIGHT_OF_SELECTION: u64 = 600;

/// Plans requests, and keeps the documents that it has validated.
pub struct Documents {
    schema: Valid<Schema>,
    limits: DocumentLimits,
    introspection: bool,
    validated: Cache<Arc<str>, Arc<Validated>, Weight>,
    cache_counts: CacheCounts,
    persisted: PersistedDocuments,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Arc<str>, Arc<Validated>> for Weight {
    fn weight(&self, text: &Arc<str>, validated: &Arc<Validated>) -> u64 {
        let selections = validated.selections.saturating_mul(validated.kept_combinations()) as u64;
        BASE_WEIGHT + text.len() as u64 * WEIGHT_OF_BYTE + selections.saturating_mul(WEIGHT_OF_SELECTION)
    }
}

/// The schema or the manifest of trusted documents is invalid.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The schema of this program is invalid, which is a bug.
    #[error("the schema is invalid: {0}")]
    Schema(String),
    /// A document of the manifest is rejected.
    #[error("document `{id}` is rejected: {source}")]
    TrustedDocument {
        /// Name of the document in the manifest.
        id: String,
        /// Error of the document.
        source: DocumentError,
    },
}

impl Documents {
    /// Plans requests for the schema that `sdl` describes. If there is a manifest of `trusted` documents, other documents are
    /// rejected.
    pub fn new(
        sdl: &str,
        limits: DocumentLimits,
        introspection: bool,
        trusted: Option<TrustedDocuments>,
    ) -> Result<Self, SetupError> {
        let schema = Schema::parse_and_validate(sdl, "schema.graphql");
        let documents = Self {
            schema: schema.map_err(|error| SetupError::Schema(error.errors.to_string()))?,
            limits,
            introspection,
            validated: Cache::with_weighter(CACHED_DOCUMENTS, CACHE_BYTES, Weight),
            cache_counts: CacheCounts::new("documents"),
            persisted: PersistedDocuments::new(trusted),
        };
        for (id, text) in documents.persisted.trusted() {
            let rejected = |source| SetupError::TrustedDocument { id: id.clone(), source };
            documents.validated(text).map_err(rejected)?;
        }
        Ok(documents)
    }

    /// Finds and validates the operation that a request executes. `operation_name` is needed only if the document has several
    /// operations.
    pub fn find(
        &self,
        request: &DocumentRequest,
        operation_name: Option<&str>,
    ) -> Result<ChosenOperation, DocumentError> {
        let text = self.persisted.text(request)?;
        let validated = self.validated(&text)?;
        self.persisted.remember(request, &text);
        Ok(choose(validated, operation_name)?)
    }

    /// Plans an operation with the variables of the request.
    pub fn plan(&self, operation: &ChosenOperation, variables: Map<String, Value>) -> Result<Plan, DocumentError> {
        Ok(planned::plan(&self.schema, operation, variables, self.limits.cost)?)
    }

    /// The first three stages. Their result depends on the text alone, so it is kept.
    fn validated(&self, text: &str) -> Result<Arc<Validated>, DocumentError> {
        let cached = self.validated.get(text);
        self.cache_counts.count(cached.is_some());
        if let Some(validated) = cached {
            return Ok(validated);
        }
        let parsed = parse(&self.schema, &self.limits, text)?;
        // Before anything follows the fragments of the document.
        let measured = measure(parsed, &self.limits)?;
        let validated = Arc::new(validate(&self.schema, measured, self.introspection)?);
        self.validated.insert(text.into(), validated.clone());
        Ok(validated)
    }
}
