//! Which media type an answer has: the GraphQL over HTTP specification, sections "Accept" and "Response".

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// A media type that an answer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: the status tells a request error.
    GraphqlResponse,
    /// `application/json`: what is well-formed is answered with 200.
    Json,
}

impl Media {
    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }

    fn essence(self) -> (&'static str, &'static str) {
        match self {
            Self::GraphqlResponse => ("application", "graphql-response+json"),
            Self::Json => ("application", "json"),
        }
    }
}

/// The media type that the client likes best; `None` when it takes neither. A client that says nothing, or takes
/// anything, gets JSON, as those that know no other do.
pub fn negotiate(headers: &HeaderMap) -> Option<Media> {
    let lines: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = lines.iter().flat_map(|line| line.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        // An Accept header of which nothing can be read asks for something, and not for us.
        return headers.get(ACCEPT).is_none_or(|line| line.is_empty()).then_some(Media::Json);
    }
    let quality = |media| ranges.iter().filter_map(|range| range.matches(media)).max_by_key(|(rank, _)| *rank);
    let (json, graphql) = (quality(Media::Json), quality(Media::GraphqlResponse));
    let likes = |found: Option<(u8, u16)>| found.map_or(0, |(_, quality)| quality);
    // Of two it likes as much, the one it names; of two it names, the one it names first.
    let named = |found: Option<(u8, u16)>| found.is_some_and(|(rank, _)| rank == Range::EXACT);
    let first =
        |media| ranges.iter().position(|range| range.matches(media).is_some_and(|(rank, _)| rank == Range::EXACT));
    match (likes(json), likes(graphql)) {
        (0, 0) => None,
        (json_likes, graphql_likes) if json_likes == graphql_likes => {
            let graphql_first = match (named(json), named(graphql)) {
                (true, true) => first(Media::GraphqlResponse) < first(Media::Json),
                (json_named, graphql_named) => graphql_named && !json_named,
            };
            Some(if graphql_first { Media::GraphqlResponse } else { Media::Json })
        }
        (json_likes, graphql_likes) if graphql_likes > json_likes => Some(Media::GraphqlResponse),
        _ => Some(Media::Json),
    }
}

/// One media range of an Accept header, RFC 9110 section 12.5.1.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
    /// Whether its parameters are ones that our answers have.
    fits: bool,
}

impl<'a> Range<'a> {
    const EXACT: u8 = 2;

    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subtype, quality: 1000, fits: true };
        for parameter in parts.filter(|it| !it.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                let quality: f32 = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
                // In [0, 1000] because the quality is in [0, 1].
                range.quality = (quality * 1000.0).round() as u16;
            } else if name.trim().eq_ignore_ascii_case("charset") {
                range.fits &= value.eq_ignore_ascii_case("utf-8") || value == "*";
            }
        }
        Some(range)
    }

    /// How exactly the range names `media`, and how much the client likes it.
    fn matches(&self, media: Media) -> Option<(u8, u16)> {
        let (kind, subtype) = media.essence();
        let rank = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (range, "*") if range.eq_ignore_ascii_case(kind) => 1,
            (range, sub) if range.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => Self::EXACT,
            _ => return None,
        };
        self.fits.then_some((rank, self.quality))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers() {
        let (graphql, json) = (Some(Media::GraphqlResponse), Some(Media::Json));
        for (accept, media) in [
            ("*/*", json),
            ("application/*", json),
            ("application/json", json),
            ("application/graphql-response+json", graphql),
            ("application/graphql-response+json, application/json;q=0.9", graphql),
            ("application/json, application/graphql-response+json", json),
            ("application/graphql-response+json, application/json", graphql),
            ("application/graphql-response+json;q=0.5, application/json", json),
            ("application/graphql-response+json, */*", graphql),
            ("application/json;q=0, */*", graphql),
            ("application/json; charset=utf-8", json),
            ("application/json; charset=iso-8859-1", None),
            ("APPLICATION/JSON", json),
            ("text/html", None),
            ("text/html, */*;q=0.1", json),
            ("application/json;q=0", None),
            ("nonsense", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            assert_eq!(negotiate(&headers), media, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new()), json);
    }
}
