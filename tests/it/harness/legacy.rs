//! Writes items as the legacy system wrote them: sort keys are bare times, there are no pair and membership items, and writes
//! are not atomic.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

use super::{TABLE, TestUser, World};

/// A legacy group.
pub struct LegacyGroup {
    pub uuid: Uuid,
}

impl LegacyGroup {
    pub fn new() -> Self {
        Self { uuid: Uuid::new_v4() }
    }

    /// Writes a message with the sort key `at`.
    pub async fn message(&self, world: &World, at: &str, author: &TestUser, text: &str) {
        let mut item = names(author);
        item.insert("pk", format!("MSG#{}", self.uuid));
        item.insert("sk", at.to_owned());
        item.insert("message_uuid", Uuid::new_v4().to_string());
        item.insert("message", text.to_owned());
        put(world, item).await;
    }

    /// Writes the row of the group in `owner`'s list, with the sort key `at`.
    pub async fn row(&self, world: &World, at: &str, owner: &TestUser, other: &TestUser, text: &str) {
        let mut item = names(other);
        item.insert("pk", format!("GRP#{}", owner.uuid()));
        item.insert("sk", at.to_owned());
        item.insert("message_group_uuid", self.uuid.to_string());
        item.insert("message", text.to_owned());
        put(world, item).await;
    }
}

fn names(user: &TestUser) -> HashMap<&'static str, String> {
    HashMap::from([
        ("user_uuid", user.uuid().to_string()),
        ("user_handle", user.handle().to_owned()),
        ("user_display_name", user.user.display_name.clone()),
    ])
}

async fn put(world: &World, item: HashMap<&'static str, String>) {
    let item = item.into_iter().map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).collect();
    world.aws.dynamodb.put_item().table_name(TABLE).set_item(Some(item)).send().await.expect("an item");
}
