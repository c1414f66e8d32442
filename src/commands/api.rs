//! Options of the API, which `serve` and `dev` share.

use std::path::Path;

use clap::Args;

use crate::config::limits::{DocumentLimits, HttpLimits};
use crate::config::{ApiSettings, SettingError};
use crate::graphql::documents::TrustedDocuments;

#[derive(Args, Debug)]
pub struct ApiOptions {
    #[command(flatten)]
    pub settings: ApiSettings,
    #[command(flatten)]
    pub http_limits: HttpLimits,
    #[command(flatten)]
    pub document_limits: DocumentLimits,
}

impl ApiOptions {
    /// Reads the file of trusted documents, if one is configured.
    pub fn trusted_documents(&self) -> Result<Option<TrustedDocuments>, SettingError> {
        self.settings.trusted_documents.as_deref().map(read).transpose()
    }
}

fn read(path: &Path) -> Result<TrustedDocuments, SettingError> {
    let problem = |problem: String| {
        SettingError::wrong("TRUSTED_DOCUMENTS", format!("cannot be used: {}: {problem}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    TrustedDocuments::read(&text).map_err(problem)
}
