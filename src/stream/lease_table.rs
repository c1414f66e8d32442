//! Leases and set-aside entries in DynamoDB, in the consumer's own table. In the messages table each heartbeat would itself
//! be a record of the stream.
//!
//! | item | pk | sk | attributes |
//! |---|---|---|---|
//! | lease | `LEASE#{stream}` | shard id | `epoch`, `counter` and `created_at` (numbers) always; `parent` if there is one; `owner` while a process holds it; `checkpoint` (a sequence number, `TRIM_HORIZON`, `BEHIND_GAP` or `SHARD_END`), `step` and `handled_until` (numbers) once they are written |
//! | the stream that was consumed last | `STREAM` | `STREAM` | `stream` |
//! | set-aside record | `ASIDE` | `{stream}#{sequence number}` | `reason`, `message_pk`, `message_sk`, `set_aside_at` |
//! | set-aside group | `ASIDE` | `{stream}#reconcile-{group}` | the same |

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use super::ids::{ShardId, StreamArn};
use super::lease::{Condition, Lease, LeaseTable, LeaseUpdate, NewLease};
use super::lease_items as items;
use super::lease_update::UpdateExpression;
use super::set_aside::{SetAside, SetAsideTable};
use crate::messages_table::TableError;
use crate::messages_table::error::classify;
use crate::messages_table::items::{Item, key};
use crate::messages_table::schema::leases_table_name;

/// The consumer's table.
#[derive(Clone)]
pub struct ConsumerTable {
    client: Client,
    name: String,
}

impl ConsumerTable {
    /// The table beside the messages table `messages`.
    pub fn new(client: Client, messages: &str) -> Self {
        Self { client, name: leases_table_name(messages) }
    }

    async fn partition(&self, pk: String, consistent: bool) -> Result<Vec<Item>, TableError> {
        let request = self.client.query().table_name(&self.name).consistent_read(consistent);
        let request =
            request.key_condition_expression("pk = :pk").expression_attribute_values(":pk", AttributeValue::S(pk));
        let items = request.into_paginator().items().send().collect::<Result<_, _>>().await;
        items.map_err(|error| classify("Query", error))
    }

    async fn item(&self, key: Item) -> Result<Option<Item>, TableError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true).set_key(Some(key));
        Ok(request.send().await.map_err(|error| classify("GetItem", error))?.item)
    }

    async fn put_item(&self, item: Item) -> Result<(), TableError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        request.send().await.map(drop).map_err(|error| classify("PutItem", error))
    }

    async fn delete(&self, key: Item) -> Result<(), TableError> {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(key));
        request.send().await.map(drop).map_err(|error| classify("DeleteItem", error))
    }
}

impl LeaseTable for ConsumerTable {
    /// Every process lists the leases twice a second, so with reads that may lag, for half the price. Conditions check what is
    /// decided by such a list. A malformed lease is reported and left out: it must not stop the other shards.
    async fn list(&self, stream: &StreamArn) -> Result<Vec<Lease>, TableError> {
        let items = self.partition(items::lease_pk(stream), false).await?;
        let lease = |item: &Item| {
            let report =
                |error: &_| tracing::error!(table = self.name, %error, "a lease is malformed, its shard is not read");
            items::to_lease(item).inspect_err(report).ok()
        };
        Ok(items.iter().filter_map(lease).collect())
    }

    async fn get(&self, stream: &StreamArn, shard: &ShardId) -> Result<Option<Lease>, TableError> {
        let item = self.item(key(items::lease_pk(stream), shard)).await?;
        Ok(item.as_ref().map(items::to_lease).transpose()?)
    }

    async fn last_stream(&self) -> Result<Option<StreamArn>, TableError> {
        let item = self.item(key(items::LAST_STREAM.to_owned(), items::LAST_STREAM)).await?;
        Ok(item.as_ref().map(items::to_last_stream).transpose()?)
    }

    async fn note_stream(&self, stream: &StreamArn) -> Result<(), TableError> {
        self.put_item(items::from_last_stream(stream)).await
    }

    async fn create(&self, stream: &StreamArn, new: &NewLease) -> Result<(), TableError> {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(items::from_new_lease(stream, new)));
        match request.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(())
            }
            Err(error) => Err(classify("PutItem", error)),
        }
    }

    async fn write(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        condition: &Condition,
        update: &LeaseUpdate,
    ) -> Result<bool, TableError> {
        let key = key(items::lease_pk(stream), shard);
        let request = self.client.update_item().table_name(&self.name).set_key(Some(key));
        match UpdateExpression::of(condition, update).apply(request).send().await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(classify("UpdateItem", error)),
        }
    }

    async fn remove(&self, stream: &StreamArn, shard: &ShardId) -> Result<(), TableError> {
        self.delete(key(items::lease_pk(stream), shard)).await
    }
}

impl SetAsideTable for ConsumerTable {
    async fn put(&self, aside: &SetAside) -> Result<(), TableError> {
        self.put_item(items::from_set_aside(aside)).await
    }

    /// A malformed entry is reported and left out.
    async fn list(&self) -> Result<Vec<SetAside>, TableError> {
        let items = self.partition(items::SET_ASIDE.to_owned(), true).await?;
        let entry = |item: &Item| {
            let report = |error: &_| tracing::error!(table = self.name, %error, "a set-aside entry is malformed");
            items::to_set_aside(item).inspect_err(report).ok()
        };
        Ok(items.iter().filter_map(entry).collect())
    }

    async fn remove(&self, aside: &SetAside) -> Result<(), TableError> {
        self.delete(items::set_aside_key(aside)).await
    }
}
