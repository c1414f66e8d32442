//! Chooses the media type of a response. Sources: the GraphQL over HTTP specification, sections "Accept" and "Response", and
//! the protocols of subscriptions.

use std::cmp::Reverse;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use mime::Mime;

/// A media type of a response with one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: a rejected request gets a status of 400 or more.
    GraphqlResponse,
    /// `application/json`: a well-formed request gets the status 200, even if GraphQL rejects it.
    Json,
}

/// A media type of a response with many results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamMedia {
    /// `text/event-stream`: server-sent events, in the "distinct connections mode" of graphql-sse.
    EventStream,
    /// `multipart/mixed`: Apollo's protocol for subscriptions.
    Multipart,
}

/// The media types that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The preferred media type for one result. `None` if the client accepts none.
    pub once: Option<Media>,
    /// The preferred media type for many results. `None` if the client accepts none.
    pub stream: Option<StreamMedia>,
}

impl Media {
    /// The `Content-Type` of the response.
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

impl StreamMedia {
    fn essence(self) -> (&'static str, &'static str) {
        match self {
            Self::EventStream => ("text", "event-stream"),
            Self::Multipart => ("multipart", "mixed"),
        }
    }
}

/// Returns the media types that the client accepts, or `None` if it accepts no media type of the server. A client that sends
/// no `Accept` header or accepts everything gets JSON, because clients that know only JSON do so. A media type for many
/// results is chosen only if the client names it, because other clients cannot read it.
pub fn negotiate(headers: &HeaderMap) -> Option<Accepted> {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges: Vec<Range> = lines.flat_map(|line| line.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        // If the header has no readable media range, the client accepts only something that the server does not have.
        let is_absent = headers.get(ACCEPT).is_none_or(|line| line.is_empty());
        return is_absent.then_some(Accepted { once: Some(Media::Json), stream: None });
    }
    let preference = |essence| {
        let matching = ranges.iter().enumerate().filter_map(|(position, range)| range.matches(essence, position));
        // The most specific range decides.
        matching.max_by_key(|matched| matched.exactness).unwrap_or(Match::NONE)
    };
    let (json, graphql) = (preference(Media::Json.essence()), preference(Media::GraphqlResponse.essence()));
    // With the same quality, a media type that is named wins over a wildcard, and of two that are named, the first one.
    let order = |it: &Match| (it.quality, it.is_named(), Reverse(if it.is_named() { it.position } else { 0 }));
    let once = match (json.quality, graphql.quality) {
        (0, 0) => None,
        _ if order(&graphql) > order(&json) => Some(Media::GraphqlResponse),
        _ => Some(Media::Json),
    };
    let named = [StreamMedia::EventStream, StreamMedia::Multipart].map(|media| {
        let matched = preference(media.essence());
        (if matched.is_named() { matched.quality } else { 0 }, media)
    });
    let stream = match named {
        [(0, _), (0, _)] => None,
        // Server-sent events are simpler for clients and proxies.
        [(events, media), (multipart, _)] if events >= multipart => Some(media),
        [_, (_, media)] => Some(media),
    };
    (once.is_some() || stream.is_some()).then_some(Accepted { once, stream })
}

/// How a media range of a client matches a media type.
struct Match {
    /// 0 for `*/*`, 1 for a range such as `text/*`, 2 for the media type itself.
    exactness: u8,
    /// In thousandths; 0 means that the client does not accept it.
    quality: u16,
    /// Position of the media range in the header.
    position: usize,
}

impl Match {
    const NAMED: u8 = 2;
    const NONE: Self = Self { exactness: 0, quality: 0, position: 0 };

    fn is_named(&self) -> bool {
        self.exactness == Self::NAMED
    }
}

/// One media range of an `Accept` header (RFC 9110, section 12.5.1).
struct Range {
    mime: Mime,
    /// In thousandths.
    quality: u16,
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mime: Mime = text.trim().parse().ok()?;
        let quality = match mime.get_param("q") {
            None => 1.0,
            Some(quality) => quality.as_str().parse::<f32>().ok().filter(|quality| (0.0..=1.0).contains(quality))?,
        };
        // Between 0 and 1000, because the quality is between 0 and 1.
        Some(Self { quality: (quality * 1000.0).round() as u16, mime })
    }

    fn matches(&self, (kind, subtype): (&str, &str), position: usize) -> Option<Match> {
        let is_utf8 = |charset: mime::Name<'_>| charset == mime::UTF_8 || charset == "*";
        if !self.mime.get_param(mime::CHARSET).is_none_or(is_utf8) {
            return None;
        }
        let exactness = match (self.mime.type_().as_str(), self.mime.essence_str().split_once('/')?.1) {
            ("*", "*") => 0,
            (range, "*") if range == kind => 1,
            (range, sub) if range == kind && sub == subtype => Match::NAMED,
            _ => return None,
        };
        Some(Match { exactness, quality: self.quality, position })
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
            assert_eq!(
                negotiate(&headers),
                media.map(|media| Accepted { once: Some(media), stream: None }),
                "{accept}"
            );
        }
        let accepted = Accepted { once: json, stream: None };
        assert_eq!(negotiate(&HeaderMap::new()), Some(accepted));
    }

    #[test]
    fn a_stream_is_accepted_only_by_name() {
        let (events, multipart) = (Some(StreamMedia::EventStream), Some(StreamMedia::Multipart));
        let (graphql, json) = (Some(Media::GraphqlResponse), Some(Media::Json));
        let urql = "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, \
            multipart/mixed";
        for (accept, once, stream) in [
            ("text/event-stream", None, events),
            ("text/*", None, None),
            (urql, graphql, events),
            ("multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json", json, multipart),
            ("multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\", application/json", json, multipart),
            ("multipart/mixed, text/event-stream;q=0.5", None, multipart),
            ("text/event-stream;q=0, application/json", json, None),
            ("text/event-stream, */*;q=0.1", json, events),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            let accepted = (once.is_some() || stream.is_some()).then_some(Accepted { once, stream });
            assert_eq!(negotiate(&headers), accepted, "{accept}");
        }
    }
}
