//! Checks of a value, and the error for a setting that is missing or wrong.

use std::borrow::Cow;
use std::net::SocketAddr;

use axum::http::Uri;
use reqwest::Url;

/// Error for a setting that is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The setting is missing or empty.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// The SDK found no AWS credentials.
    #[error("no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoCredentials,
    /// The setting has a value that cannot be used.
    #[error("{name} {problem}")]
    Wrong {
        /// Environment variable of the setting.
        name: &'static str,
        /// What is wrong, and what the value must be. Continues a sentence that begins with the name.
        problem: Cow<'static, str>,
    },
}

impl SettingError {
    /// Returns the error for the setting `name`, whose value has a `problem`.
    pub fn wrong(name: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Wrong { name, problem: problem.into() }
    }
}

/// Returns `url` if it is an HTTP address with a host.
///
/// # Errors
/// It is not an HTTP address with a host. The error names the setting `name`.
pub fn checked_address<'a>(name: &'static str, url: &'a str) -> Result<&'a str, SettingError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let uri = host.chars().next().filter(|it| !matches!(it, ':' | '/')).and_then(|_| url.parse::<Uri>().ok());
    match uri.and_then(|uri| uri.host().map(str::len)) {
        // Both parsers are needed: `Uri` rejects what an HTTP client cannot send, and `Url` rejects ports above 65535.
        Some(1..) if Url::parse(url).is_ok() => Ok(url),
        _ => {
            let form = "must be an address such as https://host/path";
            // The text before `@` may contain a password.
            let got = if url.contains('@') { String::new() } else { format!(", got `{url}`") };
            Err(SettingError::wrong(name, format!("{form}{got}")))
        }
    }
}

/// Returns the value of the setting `name` without surrounding white space.
///
/// # Errors
/// The setting is missing or empty.
pub(super) fn given<'a>(name: &'static str, value: &'a Option<String>) -> Result<&'a str, SettingError> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty()).ok_or(SettingError::Missing(name))
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be IP:PORT, such as 127.0.0.1:4567")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_possible_port() {
        for good in ["http://localhost:8000", "https://host/path", "http://[::1]:80/x", "https://host:65535"] {
            assert!(checked_address("URL", good).is_ok(), "{good}");
        }
        for bad in
            ["", "host", "ftp://host", "http://", "http://:80", "http://host:99999", "http://host:x", "https:///path"]
        {
            assert!(checked_address("URL", bad).is_err(), "{bad}");
        }
        let error = checked_address("URL", "http://user:secret@host:x").map_err(|error| error.to_string());
        assert_eq!(error, Err("URL must be an address such as https://host/path".to_owned()));
    }
}
