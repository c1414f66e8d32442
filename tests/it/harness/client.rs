//! A GraphQL client.

use std::net::SocketAddr;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{TestUser, eventually};

#[derive(Clone)]
pub struct Client {
    pub url: String,
    pub http: reqwest::Client,
    pub token: Option<String>,
}

impl Client {
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { url: format!("http://{address}/graphql"), http: reqwest::Client::new(), token }
    }

    pub fn post(&self) -> RequestBuilder {
        let request = self.http.post(&self.url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The whole response.
    pub async fn execute(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        let response = self.post().json(&body).send().await.expect("a response");
        response.json().await.expect("JSON")
    }

    /// The data of a response without errors.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let answer = self.execute(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"].clone()
    }

    /// Code and reason of the only error.
    pub async fn error(&self, query: &str, variables: Value) -> (String, Option<String>) {
        let answer = self.execute(query, variables).await;
        code_and_reason(&answer)
    }

    /// Sends a message. Returns the payload.
    pub async fn send(&self, to: Value, body: &str) -> Value {
        let data = self.data(CREATE, json!({ "to": to, "body": body })).await;
        data["createMessage"].clone()
    }

    pub async fn send_to(&self, user: &TestUser, body: &str) -> Value {
        self.send(json!({ "handle": user.handle() }), body).await
    }

    /// All message groups, read in pages of `size`.
    pub async fn groups(&self, size: usize) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        let mut after = Value::Null;
        loop {
            let data = self.data(GROUPS, json!({ "first": size, "after": after })).await;
            let page = &data["messageGroups"];
            found.extend(page["nodes"].as_array().expect("nodes").iter().cloned());
            if page["pageInfo"]["hasNextPage"] == false {
                return found;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }

    /// A page of the feed after the cursor `after`.
    pub async fn feed(&self, after: &Value, first: usize) -> FeedPage {
        let data = self.data(FEED, json!({ "after": after, "first": first })).await;
        let page = &data["feed"];
        FeedPage {
            events: page["events"].as_array().expect("events").clone(),
            end: page["endCursor"].clone(),
            has_next: page["hasNextPage"] == true,
        }
    }

    /// All events after the cursor `after`, read in pages of `size`, and the cursor at the end.
    pub async fn feed_after(&self, after: &Value, size: usize) -> FeedPage {
        let mut all = self.feed(after, size).await;
        while all.has_next {
            let next = self.feed(&all.end, size).await;
            all.events.extend(next.events);
            (all.end, all.has_next) = (next.end, next.has_next);
        }
        all
    }

    /// Waits until `count` events follow the cursor `after`. Returns them.
    pub async fn next_events(&self, after: &Value, count: usize) -> FeedPage {
        let read = || async {
            let page = self.feed_after(after, 100).await;
            (page.events.len() >= count).then_some(page)
        };
        let page = eventually("the events", read).await;
        assert_eq!(page.events.len(), count, "{:?}", page.events);
        page
    }

    /// Marks the messages of a group as read. Returns the group.
    pub async fn mark_read(&self, group: &Value, up_to: &Value) -> Value {
        let data = self.data(MARK_READ, json!({ "group": group, "upTo": up_to })).await;
        data["markRead"]["messageGroup"].clone()
    }

    /// The bodies of the newest messages of a group, from oldest to newest.
    pub async fn bodies(&self, group: &Value) -> Vec<String> {
        let data = self.data(MESSAGES, json!({ "group": group, "last": 100 })).await;
        let nodes = data["messages"]["nodes"].as_array().expect("nodes").clone();
        nodes.iter().map(|node| node["body"].as_str().expect("a body").to_owned()).collect()
    }
}

/// A page of a feed: its events, the cursor at its end, and whether it has a next page.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedPage {
    pub events: Vec<Value>,
    pub end: Value,
    pub has_next: bool,
}

impl FeedPage {
    /// The body of each message, or the reason of each reset.
    pub fn texts(&self) -> Vec<&str> {
        self.events.iter().map(text_of).collect()
    }
}

/// The body of the message of an event, or the reason of a reset.
pub fn text_of(event: &Value) -> &str {
    let text = if event["__typename"] == "FeedReset" { &event["reason"] } else { &event["message"]["body"] };
    text.as_str().unwrap_or_else(|| panic!("an event without a text: {event}"))
}

/// Code and reason of the only error of a response.
pub fn code_and_reason(answer: &Value) -> (String, Option<String>) {
    let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("no error: {answer}"));
    assert_eq!(errors.len(), 1, "{answer}");
    let extensions = &errors[0]["extensions"];
    let text = |name: &str| extensions[name].as_str().map(str::to_owned);
    (text("code").unwrap_or_else(|| panic!("no code: {answer}")), text("reason"))
}

pub const CREATE: &str = "mutation Create($to: MessageRecipient!, $body: String!) {
    createMessage(input: { to: $to, body: $body }) {
        message { uuid messageGroupUuid body createdAt author { uuid handle displayName } }
        messageGroup { uuid lastMessageAt lastMessage { uuid body } otherParticipant { handle } participants { handle } }
    }
}";

pub const GROUPS: &str = "query Groups($first: Int, $after: String) {
    messageGroups(first: $first, after: $after) {
        nodes {
            uuid lastMessageAt
            otherParticipant { uuid handle displayName }
            participants { handle }
            lastMessage { uuid body createdAt author { handle } }
        }
        edges { cursor node { uuid } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

pub const MESSAGES: &str =
    "query Messages($group: UUID!, $first: Int, $after: String, $last: Int, $before: String, $from: DateTime, $to: DateTime) {
    messages(messageGroupUuid: $group, first: $first, after: $after, last: $last, before: $before,
             createdFrom: $from, createdTo: $to) {
        nodes { uuid body createdAt author { handle displayName } }
        edges { cursor node { body } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";

pub const FEED: &str = "query Feed($after: String, $first: Int) {
    feed(after: $after, first: $first) {
        events {
            __typename cursor
            ... on MessageAdded {
                message { uuid messageGroupUuid body createdAt cursor author { handle } }
                messageGroup {
                    uuid unreadCount readCursor lastMessageAt
                    otherParticipant { handle } participants { handle } lastMessage { uuid body author { handle } }
                }
            }
            ... on FeedReset { reason }
        }
        endCursor hasNextPage
    }
}";

pub const MARK_READ: &str = "mutation MarkRead($group: UUID!, $upTo: String!) {
    markRead(input: { messageGroupUuid: $group, upTo: $upTo }) {
        messageGroup { uuid unreadCount readCursor lastMessage { body } otherParticipant { handle } }
    }
}";
