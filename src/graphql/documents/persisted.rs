//! Documents by a name instead of their text: those of a manifest (trusted documents), and those that clients have sent
//! before (automatic persisted queries, Apollo's protocol).

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use serde_json::Value;

use super::Refused;

/// How many documents that clients have sent are known by their hash.
const REMEMBERED: usize = 2_000;
/// A document that is longer is executed, and not remembered under its hash.
const LONGEST_REMEMBERED: usize = 16 * 1024;

/// The document of a request: its text, the hash of its text, or both; or its name in a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The text.
    pub text: Option<String>,
    /// `extensions.persistedQuery.sha256Hash`, in lower case.
    pub hash: Option<String>,
    /// `documentId`.
    pub id: Option<String>,
}

impl Asked {
    /// Reads the parameters of a request.
    pub fn read(text: Option<String>, extensions: &Value, id: Option<String>) -> Result<Self, String> {
        let persisted = match &extensions["persistedQuery"] {
            Value::Null => return Ok(Self { text, hash: None, id }),
            persisted => persisted,
        };
        if persisted["version"] != 1 {
            return Err("`extensions.persistedQuery.version` must be 1.".to_owned());
        }
        match persisted["sha256Hash"].as_str().filter(|hash| is_sha256(hash)) {
            Some(hash) => Ok(Self { text, hash: Some(hash.to_ascii_lowercase()), id }),
            None => Err("`extensions.persistedQuery.sha256Hash` must be a SHA-256 in hexadecimal.".to_owned()),
        }
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit())
}

/// The documents of a manifest, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedDocuments(BTreeMap<String, Arc<str>>);

impl TrustedDocuments {
    /// Reads a manifest: `{"name": "text", …}` as graphql-codegen writes it, or Apollo's
    /// `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": …, "body": …}, …]}`.
    pub fn read(manifest: &str) -> Result<Self, String> {
        let wrong = "it is neither {\"name\": \"document\", …} nor an apollo-persisted-query-manifest";
        let manifest: Value = serde_json::from_str(manifest).map_err(|error| format!("it is not JSON: {error}"))?;
        let Value::Object(object) = &manifest else { return Err(wrong.to_owned()) };
        let pairs: Option<BTreeMap<String, Arc<str>>> = match object.get("operations") {
            Some(Value::Array(operations)) => {
                operations.iter().map(|it| Some((it["id"].as_str()?.to_owned(), it["body"].as_str()?.into()))).collect()
            }
            _ => object.iter().map(|(name, text)| Some((name.clone(), text.as_str()?.into()))).collect(),
        };
        pairs.map(Self).ok_or_else(|| wrong.to_owned())
    }
}

/// The text of a document.
pub(super) enum Text<'a> {
    /// In the request or in the manifest.
    Here(&'a str),
    /// As it was sent before.
    Remembered(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Here(text) => text,
            Self::Remembered(text) => text,
        }
    }
}

/// Knows documents by their names.
pub(super) struct Persisted {
    trusted: Option<TrustedDocuments>,
    remembered: Cache<String, Arc<str>>,
}

impl Persisted {
    pub fn new(trusted: Option<TrustedDocuments>) -> Self {
        Self { trusted, remembered: Cache::new(REMEMBERED) }
    }

    /// The documents of the manifest.
    pub fn trusted(&self) -> impl Iterator<Item = (&String, &Arc<str>)> {
        self.trusted.iter().flat_map(|trusted| &trusted.0)
    }

    /// The text that is asked for.
    pub fn text<'a>(&'a self, asked: &'a Asked) -> Result<Text<'a>, Refused> {
        if let (Some(text), Some(hash)) = (&asked.text, &asked.hash)
            && sha256(text) != *hash
        {
            return Err(Refused::one("persisted_query_mismatch", "The hash is not that of the document."));
        }
        if let Some(trusted) = &self.trusted {
            let name = asked.id.as_ref().or(asked.hash.as_ref());
            let found = match (&asked.text, name) {
                (Some(text), _) => trusted.0.values().find(|it| ***it == **text),
                (None, Some(name)) => trusted.0.get(name).or_else(|| trusted.0.get(&format!("sha256:{name}"))),
                (None, None) => return Err(missing()),
            };
            return found.map(|text| Text::Here(text)).ok_or_else(|| {
                Refused::one("document_not_trusted", "Only the documents of this server's manifest are executed.")
            });
        }
        match (&asked.text, &asked.hash) {
            (Some(text), _) => Ok(Text::Here(text)),
            // The message is the protocol's: clients know by it that they must send the text too.
            (None, Some(hash)) => self
                .remembered
                .get(hash)
                .map(Text::Remembered)
                .ok_or_else(|| Refused::one("persisted_query_not_found", "PersistedQueryNotFound")),
            (None, None) => Err(missing()),
        }
    }

    /// Remembers a document that was good under the hash it came with.
    pub fn remember(&self, asked: &Asked, text: &str) {
        if let (Some(_), Some(hash), None) = (&asked.text, &asked.hash, &self.trusted)
            && text.len() <= LONGEST_REMEMBERED
        {
            self.remembered.insert(hash.clone(), text.into());
        }
    }
}

fn missing() -> Refused {
    Refused::one("parameters_invalid", "`query` must be there and be a string.")
}

fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
