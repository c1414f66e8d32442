//! A rolling upgrade from a version that writes no feed: its consumer and this one run at the same time.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use cruddur_messaging::messages_table::schema::leases_table_name;
use cruddur_messaging::stream::dynamodb::DynamoDbStream;
use cruddur_messaging::stream::source::StreamSource;
use serde_json::Value;

use crate::harness::client::text_of;
use crate::harness::{TABLE, World, test, user};

/// How often the earlier version renews a lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A process of the earlier version that reads the only shard.
struct Earlier<'a> {
    world: &'a World,
    lease: [(String, AttributeValue); 2],
}

impl<'a> Earlier<'a> {
    async fn start(world: &'a World) -> Self {
        let source = DynamoDbStream::new(world.aws.dynamodb.clone(), world.aws.streams.clone(), TABLE);
        let stream = source.stream().await.expect("a stream");
        let shard = source.shards(&stream).await.expect("shards").remove(0).id;
        let lease = [("pk".to_owned(), text(&format!("LEASE#{stream}"))), ("sk".to_owned(), text(&shard))];
        let put = world.aws.dynamodb.put_item().table_name(leases_table_name(TABLE));
        let put = put.set_item(Some(lease.clone().into())).item("owner", text("earlier")).item("epoch", number(3));
        // If it were old, records could be lost.
        let now = number(chrono::Utc::now().timestamp_millis());
        put.item("counter", number(70)).item("created_at", now).send().await.expect("a lease");
        Self { world, lease }
    }

    /// Whether the process still holds its lease.
    async fn renew(&self) -> bool {
        let update = self.world.aws.dynamodb.update_item().table_name(leases_table_name(TABLE));
        let update = update.set_key(Some(self.lease.clone().into()));
        let update = update.condition_expression("#owner = :owner AND epoch = :epoch");
        let update = update.update_expression("SET #counter = #counter + :one");
        let update =
            update.expression_attribute_names("#owner", "owner").expression_attribute_names("#counter", "counter");
        let values = [(":owner", text("earlier")), (":epoch", number(3)), (":one", number(1))];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        update.set_expression_attribute_values(Some(values.into())).send().await.is_ok()
    }
}

#[test]
fn an_earlier_version_stops_before_this_version_reads_its_shards() {
    test(async {
        let world = World::new().await;
        let client = world.server().await.client(&user("ana").await);
        let ben = user("ben").await;
        client.send_to(&ben, "1").await;
        let earlier = Earlier::start(&world).await;
        assert!(earlier.renew().await, "nobody else wants the lease");
        let consumer = world.consumer();
        while earlier.renew().await {
            tokio::time::sleep(RENEW_INTERVAL).await;
            // In this time the earlier version may move rows. It would remove what they say about the feed.
            assert_eq!(client.feed(&Value::Null, 10).await.events, Vec::<Value>::new());
        }
        client.send_to(&ben, "2").await;
        let events = client.next_events(&Value::Null, 2).await.events;
        assert_eq!(events.iter().map(text_of).collect::<Vec<_>>(), ["1", "2"]);
        assert!(consumer.finish().await);
    });
}
