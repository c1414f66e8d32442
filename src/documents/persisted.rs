//! Documents that a request names instead of sending their text: those of a manifest (trusted documents), and those that a
//! client has sent before (automatic persisted queries, Apollo's protocol).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use serde_json::Value;

use super::error::LookupError;

/// Maximum number of documents that are remembered by their hash.
const MAX_REMEMBERED: usize = 2_000;
/// A document that is longer, in bytes, is executed but not remembered by its hash.
const MAX_REMEMBERED_BYTES: usize = 16 * 1024;

/// Which document a request executes: its text, the hash of its text, both, or its name in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentRequest {
    /// The text.
    pub text: Option<String>,
    /// `extensions.persistedQuery.sha256Hash`, in lower case.
    pub hash: Option<String>,
    /// `documentId`.
    pub id: Option<String>,
}

/// `extensions.persistedQuery` is not what Apollo's protocol defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersistedQueryError {
    /// An unknown version of the protocol.
    #[error("`extensions.persistedQuery.version` must be 1.")]
    Version,
    /// Not a hash.
    #[error("`extensions.persistedQuery.sha256Hash` must be a SHA-256 hash in hexadecimal.")]
    Hash,
}

impl DocumentRequest {
    /// Reads the parameters of a request.
    pub fn read(text: Option<String>, extensions: &Value, id: Option<String>) -> Result<Self, PersistedQueryError> {
        let persisted = match &extensions["persistedQuery"] {
            Value::Null => return Ok(Self { text, hash: None, id }),
            persisted => persisted,
        };
        if persisted["version"] != 1 {
            return Err(PersistedQueryError::Version);
        }
        match persisted["sha256Hash"].as_str().filter(|hash| is_sha256(hash)) {
            Some(hash) => Ok(Self { text, hash: Some(hash.to_ascii_lowercase()), id }),
            None => Err(PersistedQueryError::Hash),
        }
    }

    /// Whether the request has a document at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit())
}

/// The documents of a manifest, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedDocuments(BTreeMap<String, Arc<str>>);

/// A manifest that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON.
    #[error("the file is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another form.
    #[error("the file must be {{\"name\": \"document\", …}} or an apollo-persisted-query-manifest")]
    Form,
}

impl TrustedDocuments {
    /// Reads a manifest: `{"name": "text", …}` as graphql-codegen writes it, or Apollo's
    /// `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": …, "body": …}, …]}`.
    pub fn read(manifest: &str) -> Result<Self, ManifestError> {
        let Value::Object(object) = serde_json::from_str(manifest)? else { return Err(ManifestError::Form) };
        let documents: Option<BTreeMap<String, Arc<str>>> = match object.get("operations") {
            Some(Value::Array(operations)) => {
                operations.iter().map(|it| Some((it["id"].as_str()?.to_owned(), it["body"].as_str()?.into()))).collect()
            }
            _ => object.iter().map(|(name, text)| Some((name.clone(), text.as_str()?.into()))).collect(),
        };
        documents.map(Self).ok_or(ManifestError::Form)
    }
}

/// The text of a document.
pub(super) enum Text<'a> {
    /// From the request or from the manifest.
    Borrowed(&'a str),
    /// From an earlier request.
    Remembered(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Remembered(text) => text,
        }
    }
}

/// Finds documents by their names and hashes.
pub(super) struct PersistedDocuments {
    trusted: Option<TrustedDocuments>,
    remembered: Cache<String, Arc<str>>,
}

impl PersistedDocuments {
    pub fn new(trusted: Option<TrustedDocuments>) -> Self {
        Self { trusted, remembered: Cache::new(MAX_REMEMBERED) }
    }

    /// The documents of the manifest.
    pub fn trusted(&self) -> impl Iterator<Item = (&String, &Arc<str>)> {
        self.trusted.iter().flat_map(|trusted| &trusted.0)
    }

    /// The text of the document that a request names or sends.
    pub fn text<'a>(&'a self, request: &'a DocumentRequest) -> Result<Text<'a>, LookupError> {
        if let (Some(text), Some(hash)) = (&request.text, &request.hash)
            && sha256(text) != *hash
        {
            return Err(LookupError::HashMismatch);
        }
        if let Some(trusted) = &self.trusted {
            let name = request.id.as_ref().or(request.hash.as_ref());
            let found = match (&request.text, name) {
                (Some(text), _) => trusted.0.values().find(|it| ***it == **text),
                (None, Some(name)) => trusted.0.get(name).or_else(|| trusted.0.get(&format!("sha256:{name}"))),
                (None, None) => return Err(LookupError::Missing),
            };
            return found.map(|text| Text::Borrowed(text)).ok_or(LookupError::NotTrusted);
        }
        match (&request.text, &request.hash) {
            (Some(text), _) => Ok(Text::Borrowed(text)),
            (None, Some(hash)) => self.remembered.get(hash).map(Text::Remembered).ok_or(LookupError::NotPersisted),
            (None, None) => Err(LookupError::Missing),
        }
    }

    /// Remembers a valid document by the hash that the client sent with it.
    pub fn remember(&self, request: &DocumentRequest, text: &str) {
        if let (Some(_), Some(hash), None) = (&request.text, &request.hash, &self.trusted)
            && text.len() <= MAX_REMEMBERED_BYTES
        {
            self.remembered.insert(hash.clone(), text.into());
        }
    }
}

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
