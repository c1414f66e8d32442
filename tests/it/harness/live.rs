//! Subscriptions, and what their tests need.

use cruddur_messaging::embedded::issuer::LocalIssuer;
use serde_json::{Value, json};

use super::{TestUser, shared};

pub const FEED: &str = "subscription Feed($after: String) {
    feed(after: $after) {
        __typename cursor
        ... on MessageAdded { message { uuid messageGroupUuid body author { handle } } messageGroup { uuid unreadCount } }
        ... on FeedReset { reason }
    }
}";

pub const ACTIVITY: &str = "subscription Activity {
    activity {
        __typename
        ... on TypingStarted { messageGroupUuid user { handle } expiresAt }
        ... on ReadMarkerMoved { messageGroupUuid user { handle } readCursor unreadCount }
    }
}";

/// A token of a user that expires in some seconds. A negative number: it has expired.
pub async fn token_expiring_in(user: &TestUser, seconds: i64) -> String {
    let now = chrono::Utc::now();
    let mut claims = LocalIssuer::claims(&user.cognito_user_id, now);
    claims["exp"] = json!(now.timestamp() + seconds);
    shared().await.issuer.sign(&claims).expect("a token")
}

/// Deletes a user in PostgreSQL.
pub async fn delete_user(user: &TestUser) {
    let delete = sqlx::query("DELETE FROM public.users WHERE uuid = $1").bind(user.uuid().0);
    let deleted = delete.execute(shared().await.users.pool()).await.expect("a delete");
    assert_eq!(deleted.rows_affected(), 1);
}

/// Checks that an event says that everything was delivered. Returns its cursor.
pub fn ready(event: &Value) -> Value {
    assert_eq!(event["__typename"], "FeedReady", "{event}");
    event["cursor"].clone()
}
