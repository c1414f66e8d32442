//! Writes items as the legacy system wrote them: sort keys are bare times, there are no pair and membership items, and writes
//! are not atomic. Its table has no marker, so the first write removes the one that a new table has.

use aws_sdk_dynamodb::types::AttributeValue;
use cruddur_messaging::messages_table::attributes::Item;
use cruddur_messaging::model::{MessageGroupUuid, Participant, UserUuid};
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

    pub fn id(&self) -> MessageGroupUuid {
        MessageGroupUuid(self.uuid)
    }

    /// Writes a message with the sort key `at`.
    pub async fn message(&self, world: &World, at: &str, author: &TestUser, text: &str) {
        let mut item = names(&author.participant());
        item.insert("pk".to_owned(), value(format!("MSG#{}", self.uuid)));
        item.insert("sk".to_owned(), value(at));
        item.insert("message_uuid".to_owned(), value(Uuid::new_v4()));
        item.insert("message".to_owned(), value(text));
        put(world, item).await;
    }

    /// Writes the row of the group in `owner`'s list, with the sort key `at`.
    pub async fn row(&self, world: &World, at: &str, owner: &TestUser, other: &TestUser, text: &str) {
        put(world, self.row_item(at, owner.uuid(), &other.participant(), text)).await;
    }

    pub fn row_item(&self, at: &str, owner: UserUuid, other: &Participant, text: &str) -> Item {
        let mut item = names(other);
        item.insert("pk".to_owned(), value(format!("GRP#{owner}")));
        item.insert("sk".to_owned(), value(at));
        item.insert("message_group_uuid".to_owned(), value(self.uuid));
        item.insert("message".to_owned(), value(text));
        item
    }
}

fn value(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

fn names(user: &Participant) -> Item {
    Item::from([
        ("user_uuid".to_owned(), value(user.uuid)),
        ("user_handle".to_owned(), value(&user.names.handle)),
        ("user_display_name".to_owned(), value(&user.names.display_name)),
    ])
}

/// Removes the marker, which says that every legacy group is adopted. Servers that have read it do not notice.
pub async fn without_marker(world: &World) {
    let delete = world.aws.dynamodb.delete_item().table_name(TABLE).key("pk", value("LEGACY"));
    delete.key("sk", value("ADOPTED")).send().await.expect("no marker");
}

pub async fn put(world: &World, item: Item) {
    without_marker(world).await;
    world.aws.dynamodb.put_item().table_name(TABLE).set_item(Some(item)).send().await.expect("an item");
}
