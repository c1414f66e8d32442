//! The operations of a document, and what is known of each before it runs.

use std::collections::HashMap;
use std::sync::Arc;

use apollo_compiler::executable::{Operation, OperationType};
use apollo_compiler::response::JsonMap;
use apollo_compiler::{ExecutableDocument, Name};
use async_graphql::ServerError;

use super::cost::{cost, fixed_cost};
use super::{Prepared, Refused, of_request};

/// What of an operation is the same in every request.
#[derive(Debug)]
pub struct Facts {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is a query.
    pub is_query: bool,
    /// The schema's fields at its root, each once.
    pub fields: Vec<String>,
    /// Its price, unless a variable says how large a page is.
    cost: Option<u64>,
}

/// The facts of each operation of a document.
pub(super) type FactsByName = HashMap<Option<Name>, Arc<Facts>>;

/// Finds out the facts of each operation of `document`.
pub(super) fn facts(document: &ExecutableDocument) -> FactsByName {
    let facts_of = |operation: &Operation| {
        let mut fields: Vec<String> = operation.root_fields(document).map(|field| field.name.to_string()).collect();
        fields.sort();
        fields.dedup();
        Facts {
            name: operation.name.as_ref().map(Name::to_string),
            is_query: operation.operation_type == OperationType::Query,
            fields,
            cost: fixed_cost(document, operation),
        }
    };
    document.operations.iter().map(|operation| (operation.name.clone(), Arc::new(facts_of(operation)))).collect()
}

/// The operation of a document that a request runs.
pub struct Chosen<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) operation: &'a Operation,
    /// What is known of it.
    pub facts: &'a Arc<Facts>,
}

impl Prepared {
    /// The operation of that name, or the only one; an error when there is no such operation.
    pub fn choose(&self, name: Option<&str>) -> Result<Chosen<'_>, Refused> {
        let refused = |error| of_request(&error, &self.document.sources);
        let operation = self.document.operations.get(name).map_err(refused)?;
        // Every operation of the document has its facts.
        let facts = &self.facts[&operation.name];
        Ok(Chosen { prepared: self, operation, facts })
    }
}

impl Chosen<'_> {
    /// Takes out of errors what the client could not make sense of: locations in a print of its document.
    pub fn locate(&self, errors: &mut [ServerError]) {
        if !self.prepared.is_as_sent {
            errors.iter_mut().for_each(|error| error.locations.clear());
        }
    }

    /// What it costs with these variables.
    pub(super) fn cost(&self, variables: &JsonMap) -> u64 {
        self.facts.cost.unwrap_or_else(|| cost(&self.prepared.document, self.operation, variables))
    }
}
