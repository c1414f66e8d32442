//! How far each shard has been consumed, kept in the consumer's own table.
//!
//! | pk | sk | attributes |
//! |---|---|---|
//! | `SHARD#{stream}` | shard id | `checkpoint`: the sequence number of the last record done, or `SHARD_END` |

use std::future::Future;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::messages_table::TableError;
use crate::messages_table::error::classify;
use crate::messages_table::items::key;
use crate::messages_table::schema::leases_table_name;

const CHECKPOINT: &str = "checkpoint";
const SHARD_END: &str = "SHARD_END";

/// How far a shard has been consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Up to and with the record of this sequence number.
    At(String),
    /// To its end.
    ShardEnd,
}

/// Where checkpoints are kept.
pub trait CheckpointStore: Send + Sync + 'static {
    /// The checkpoint of a shard, if it has one.
    fn read(&self, stream: &str, shard: &str) -> impl Future<Output = Result<Option<Checkpoint>, TableError>> + Send;
    /// Moves the checkpoint of a shard.
    fn write(
        &self,
        stream: &str,
        shard: &str,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), TableError>> + Send;
}

/// Checkpoints in DynamoDB.
pub struct DynamoDbCheckpoints {
    client: Client,
    table: String,
}

impl DynamoDbCheckpoints {
    /// The checkpoints beside the messages table `messages`.
    pub fn new(client: Client, messages: &str) -> Self {
        Self { client, table: leases_table_name(messages) }
    }
}

impl CheckpointStore for DynamoDbCheckpoints {
    async fn read(&self, stream: &str, shard: &str) -> Result<Option<Checkpoint>, TableError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .set_key(Some(key(format!("SHARD#{stream}"), shard)));
        let answer = request.send().await.map_err(|error| classify("GetItem", error))?;
        let text = answer.item.and_then(|mut item| item.remove(CHECKPOINT));
        Ok(match text {
            Some(AttributeValue::S(text)) if text == SHARD_END => Some(Checkpoint::ShardEnd),
            Some(AttributeValue::S(number)) => Some(Checkpoint::At(number)),
            _ => None,
        })
    }

    async fn write(&self, stream: &str, shard: &str, checkpoint: &Checkpoint) -> Result<(), TableError> {
        let text = match checkpoint {
            Checkpoint::At(number) => number.clone(),
            Checkpoint::ShardEnd => SHARD_END.to_owned(),
        };
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key(format!("SHARD#{stream}"), shard)))
            .item(CHECKPOINT, AttributeValue::S(text))
            .send()
            .await
            .map(drop)
            .map_err(|error| classify("PutItem", error))
    }
}
