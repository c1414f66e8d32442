//! Clients of the streams over HTTP: server-sent events, and Apollo's multipart subscriptions.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Client, DEADLINE};

/// The delimiter before each part, as Apollo Client and urql search for it: with the line break before it.
const DELIMITER: &[u8] = b"\r\n--graphql";

/// The body of a response that arrives in parts.
struct Body {
    response: Response,
    /// What has arrived and was not read.
    received: Vec<u8>,
}

impl Body {
    /// Receives more. Returns `false` at the end of the body.
    async fn receive(&mut self) -> bool {
        let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("neither data nor an end");
        match chunk.expect("a body that ends in good order") {
            Some(bytes) => self.received.extend_from_slice(&bytes),
            None => return false,
        }
        true
    }

    /// The text before the next `separator`, which is removed too. `None` if the body ends before it.
    async fn until(&mut self, separator: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.received.windows(separator.len()).position(|window| window == separator) {
                let after = self.received.split_off(at + separator.len());
                let mut text = std::mem::replace(&mut self.received, after);
                text.truncate(at);
                return Some(String::from_utf8(text).expect("UTF-8"));
            }
            if !self.receive().await {
                return None;
            }
        }
    }
}

/// Sends a request whose response must be a stream of this media type.
async fn open(request: RequestBuilder, media: &str) -> Body {
    let response = request.send().await.expect("a response");
    let content_type = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!((response.status().as_u16(), content_type.split("; ").next()), (200, Some(media)), "{content_type}");
    Body { response, received: Vec::new() }
}

/// A stream of server-sent events.
pub struct EventStream(Body);

impl EventStream {
    /// Sends a request whose response must be an event stream.
    pub async fn open(request: RequestBuilder) -> Self {
        Self(open(request, "text/event-stream").await)
    }

    /// Starts an operation.
    pub async fn start(client: &Client, query: &str, variables: Value) -> Self {
        let request = client.post().header("accept", "text/event-stream");
        Self::open(request.json(&json!({ "query": query, "variables": variables }))).await
    }

    /// The lines of the next event. Comments are left out. `None` at the end of the stream.
    pub async fn lines(&mut self) -> Option<Vec<String>> {
        loop {
            let Some(text) = self.0.until(b"\n\n").await else {
                assert_eq!(self.0.received, b"", "the last event is not complete");
                return None;
            };
            let lines: Vec<String> = text.lines().filter(|line| !line.starts_with(':')).map(str::to_owned).collect();
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    /// The id and the payload of the next event, which is a result. `None` at the end of the stream.
    async fn result(&mut self) -> Option<(Option<String>, Value)> {
        let lines = self.lines().await?;
        let field = |name: &str| {
            let values = lines.iter().filter_map(|line| line.split_once(": ").filter(|(found, _)| *found == name));
            let values: Vec<&str> = values.map(|(_, value)| value).collect();
            assert!(values.len() <= 1, "{lines:?}");
            values.first().map(|value| (*value).to_owned())
        };
        assert_eq!(field("event").as_deref(), Some("next"), "{lines:?}");
        let payload = serde_json::from_str(&field("data").expect("data")).expect("JSON");
        Some((field("id"), payload))
    }

    /// The payload of the next event, which is a result.
    pub async fn next(&mut self) -> Value {
        self.result().await.expect("a further event").1
    }

    /// The next event of the subscribed feed. Its id is its cursor.
    pub async fn event(&mut self) -> Value {
        let (id, payload) = self.result().await.expect("a further event");
        assert_eq!(payload.get("errors"), None, "{payload}");
        let event = payload["data"]["feed"].clone();
        assert_eq!(json!(id), event["cursor"]);
        event
    }

    /// Checks that the operation is complete, and that the stream ends.
    pub async fn completed(&mut self) {
        let lines = self.lines().await.expect("a further event");
        assert_eq!(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), ["event: complete", "data:"]);
        assert_eq!(self.lines().await, None);
    }

    /// Waits until the stream ends without further events. If there were a `complete`, a client would not connect again.
    pub async fn ended(&mut self) {
        assert_eq!(self.lines().await, None);
    }
}

/// A stream of Apollo's multipart protocol.
pub struct Multipart(Body);

impl Multipart {
    /// Sends a request whose response must be such a stream.
    pub async fn open(request: RequestBuilder) -> Self {
        let mut body = open(request, "multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\"").await;
        // The first delimiter may stand at the beginning of the body.
        body.received = b"\r\n".to_vec();
        let before = body.until(DELIMITER).await.expect("a delimiter");
        assert_eq!(before.trim(), "", "before the first part");
        Self(body)
    }

    /// Starts an operation.
    pub async fn start(client: &Client, query: &str, variables: Value) -> Self {
        let request = client.post().header("accept", "multipart/mixed;boundary=graphql;subscriptionSpec=1.0");
        Self::open(request.json(&json!({ "query": query, "variables": variables }))).await
    }

    /// The content of the next part. Heartbeats are left out. `None` after the final delimiter.
    pub async fn part(&mut self) -> Option<Value> {
        loop {
            while self.0.received.len() < 2 {
                assert!(self.0.receive().await, "no final delimiter");
            }
            if self.0.received.starts_with(b"--") {
                return None;
            }
            let part = self.0.until(DELIMITER).await.expect("a delimiter after each part");
            let (head, content) = part.split_once("\r\n\r\n").expect("a head and a content");
            let head = head.trim().to_ascii_lowercase();
            assert_eq!(head.split(';').next(), Some("content-type: application/json"));
            let content: Value = serde_json::from_str(content).expect("JSON");
            if content != json!({}) {
                return Some(content);
            }
        }
    }

    /// The next event of the subscribed feed.
    pub async fn event(&mut self) -> Value {
        let part = self.part().await.expect("a further part");
        assert_eq!(part, json!({ "payload": { "data": { "feed": part["payload"]["data"]["feed"] } } }));
        part["payload"]["data"]["feed"].clone()
    }

    /// Checks that the final delimiter is next, and that the body ends.
    pub async fn ended(&mut self) {
        assert_eq!(self.part().await, None);
        while self.0.receive().await {}
        assert_eq!(String::from_utf8_lossy(&self.0.received).trim_end(), "--");
    }

    /// What has arrived after the last delimiter.
    pub fn unread(&self) -> String {
        String::from_utf8_lossy(&self.0.received).trim().to_owned()
    }
}
