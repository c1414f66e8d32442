//! Sends files that are embedded in the binary. A file is not copied before it is sent. For a file `name`, the folder can
//! also contain `name.br`: the same file, compressed with Brotli.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

/// Number of bytes of a file's hash in its `ETag`.
const ETAG_BYTES: usize = 16;

/// How long a browser may use a cached file without a further request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// For a year. The name of the file must contain a hash of its content.
    Immutable,
    /// Not at all: the browser must ask each time whether the file has changed.
    Revalidate,
}

impl Caching {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Revalidate => "no-cache",
        })
    }
}

/// Returns the response with the file `name`, or `None` if there is no such file or its ending is unknown. The response has
/// no body (304) if the browser has the file already.
pub fn respond<Files: Embed>(name: &str, headers: &HeaderMap, caching: Caching) -> Option<Response> {
    let content_type = content_type(name)?;
    let compressed = accepts_brotli(headers).then(|| Files::get(&format!("{name}.br"))).flatten();
    let is_compressed = compressed.is_some();
    let file = compressed.or_else(|| Files::get(name))?;
    let tag = etag(&file);
    let is_known =
        headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| tags.contains(&tag));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Body::from(bytes(file)).into_response(),
    };
    let answers = response.headers_mut();
    answers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answers.insert(CACHE_CONTROL, caching.value());
    answers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    answers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answers.insert(ETAG, tag);
    }
    if is_compressed {
        answers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    Some(response)
}

fn bytes(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(ETAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Returns the media type for the ending of a file name. Files with other endings are not sent.
fn content_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

fn accepts_brotli(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, parameter) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameter.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("br") && quality.is_none_or(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brotli_is_used_only_if_the_client_accepts_it() {
        for (accepted, expected) in [
            ("", false),
            ("gzip, deflate, br", true),
            ("BR;q=0.5", true),
            ("br;q=0", false),
            ("brotli", false),
            ("*", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().expect("a value"))]);
            assert_eq!(accepts_brotli(&headers), expected, "{accepted}");
        }
    }
}
