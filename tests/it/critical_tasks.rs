//! A critical task that ends before its time stops the process, with an error that names it.

use std::sync::Arc;

use cruddur_messaging::environment::SystemEnvironment;
use cruddur_messaging::messages_table::MessagesTable;
use cruddur_messaging::shutdown::Shutdown;
use cruddur_messaging::stream::Consumer;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::dynamodb::DynamoDbStream;
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::source::{Batch, Position, Shard, StreamError, StreamSource};

use crate::harness::{DEADLINE, TABLE, World, test};

/// The stream of the table, whose first read panics as a bug would.
struct Panicking(DynamoDbStream);

impl StreamSource for Panicking {
    async fn stream(&self) -> Result<StreamArn, StreamError> {
        self.0.stream().await
    }

    async fn shards(&self, stream: &StreamArn) -> Result<Vec<Shard>, StreamError> {
        self.0.shards(stream).await
    }

    async fn children(&self, stream: &StreamArn, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        self.0.children(stream, parent).await
    }

    async fn iterator(&self, stream: &StreamArn, shard: &ShardId, position: &Position) -> Result<String, StreamError> {
        self.0.iterator(stream, shard, position).await
    }

    async fn records(&self, _iterator: &str) -> Result<Batch, StreamError> {
        panic!("a bug in the reader")
    }
}

#[test]
fn a_panic_in_the_reader_of_a_shard_stops_the_process() {
    test(async {
        let world = World::new().await;
        let source = DynamoDbStream::new(world.aws.dynamodb.clone(), world.aws.streams.clone(), TABLE);
        let leases = ConsumerTable::new(world.aws.dynamodb.clone(), TABLE);
        let rows = MessagesTable::new(world.aws.dynamodb.clone(), TABLE);
        let consumer = Consumer::new(Panicking(source), leases, rows, "panicking", Arc::new(SystemEnvironment));
        let shutdown = Shutdown::default();
        shutdown.spawn_critical("stream consumer", Arc::new(consumer).run(shutdown.token()));
        tokio::time::timeout(DEADLINE, shutdown.requested())
            .await
            .expect("the process stops")
            .expect("a signal handler");
        assert!(shutdown.finish().await);
        let error = shutdown.failure().expect_err("the consumer failed").to_string();
        assert!(error.starts_with("the stream consumer failed (the reader of a shard panicked"), "{error}");
    });
}
