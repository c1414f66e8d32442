//! Stores leases, the repair and set-aside entries in DynamoDB, in the consumer's own table. They are not in the messages
//! table, because each renewal of a lease would be a record of the stream.
//!
//! | item | pk | sk | attributes |
//! |---|---|---|---|
//! | lease | `LEASE#{stream}` | shard id | `feed_epoch`, `counter` and `created_at` (numbers) always, but `epoch` instead of `feed_epoch` until this version takes a lease of an earlier version; `upgrading` (true) after that, until the former holder has stopped; `parent` if there is one; `owner` while a process holds it; `checkpoint` (a sequence number, `TRIM_HORIZON`, `BEHIND_GAP` or `SHARD_END`), `step` and `handled_until` (numbers) once they are written |
//! | the [repair](super::repair) | `REPAIR` | `REPAIR` | `requested`, `epoch` and `counter` (numbers) always; `requested_at`; `owner` while a process holds the lease; `step`; while a pass is not finished, `pass` (the request that it covers), `started_at` and `position` (a map: the exclusive start key of the scan); `completed`, `complete_since` and `finished_at` of the last finished pass; `groups`, `moved`, `failed` (numbers) |
//! | the stream that was consumed last | `STREAM` | `STREAM` | `stream` |
//! | set-aside record | `ASIDE` | `{stream}#{sequence number}` | `reason`, `message_pk`, `message_sk`, `set_aside_at` |
//! | set-aside group | `ASIDE` | `{stream}#reconcile-{group}` | the same |

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::consumer_items as items;
use super::ids::{ShardId, StreamArn};
use super::lease::{Condition, Lease, LeaseTable, LeaseUpdate, NewLease};
use super::repair::{Repair, RepairTable, RepairUpdate};
use super::repair_items::{repair_key, to_repair};
use super::set_aside::{SetAside, SetAsideTable};
use super::update_expression::UpdateExpression;
use crate::messages_table::attributes::{Item, primary_key};
use crate::messages_table::capacity::Meter;
use crate::messages_table::error::classify_call;
use crate::messages_table::schema::leases_table_name;
use crate::messages_table::{Consumed, TableError};
use crate::metrics::{self, Target};

/// Condition that no item has the key.
const ABSENT: &str = "attribute_not_exists(pk)";
/// Error code under which failed conditions are counted in the metrics.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
/// Every response reports the capacity that the call has consumed.
const TOTAL: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// The consumer's table. Cheap to clone: clones share the client and the count of consumed capacity.
#[derive(Clone)]
pub struct ConsumerTable {
    client: Client,
    name: String,
    meter: Arc<Meter>,
}

impl ConsumerTable {
    /// The consumer's table that belongs to the messages table `messages`.
    pub fn new(client: Client, messages: &str) -> Self {
        Self { client, name: leases_table_name(messages), meter: Arc::new(Meter::new(Target::Leases)) }
    }

    /// Capacity units that this table and its clones have consumed so far.
    pub fn consumed(&self) -> Consumed {
        self.meter.consumed()
    }

    async fn partition(&self, pk: String, consistent: bool) -> Result<Vec<Item>, TableError> {
        let request =
            self.client.query().table_name(&self.name).consistent_read(consistent).return_consumed_capacity(TOTAL);
        let request =
            request.key_condition_expression("pk = :pk").expression_attribute_values(":pk", AttributeValue::S(pk));
        let mut pages = request.into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("Query", error))?;
            self.meter.count("Query", page.consumed_capacity());
            items.extend(page.items.unwrap_or_default());
        }
        Ok(items)
    }

    async fn item(&self, key: Item) -> Result<Option<Item>, TableError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true).set_key(Some(key));
        let response = request.return_consumed_capacity(TOTAL).send().await;
        let response = response.map_err(|error| failed("GetItem", error))?;
        self.meter.count("GetItem", response.consumed_capacity());
        Ok(response.item)
    }

    /// Puts an item if `condition` holds. Returns whether the condition held.
    async fn put_item(&self, item: Item, condition: Option<&str>) -> Result<bool, TableError> {
        let request =
            self.client.put_item().table_name(&self.name).set_item(Some(item)).return_consumed_capacity(TOTAL);
        match request.set_condition_expression(condition.map(str::to_owned)).send().await {
            Ok(response) => {
                self.meter.count("PutItem", response.consumed_capacity());
                Ok(true)
            }
            Err(error)
                if matches!(error.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) =>
            {
                metrics::failed(Target::Leases, "PutItem", CONDITION_FAILED);
                Ok(false)
            }
            Err(error) => Err(failed("PutItem", error)),
        }
    }

    /// Updates an item if the condition of `expression` holds. Returns whether the condition held.
    async fn update(&self, key: Item, expression: UpdateExpression) -> Result<bool, TableError> {
        let request =
            self.client.update_item().table_name(&self.name).set_key(Some(key)).return_consumed_capacity(TOTAL);
        match expression.apply(request).send().await {
            Ok(response) => {
                self.meter.count("UpdateItem", response.consumed_capacity());
                Ok(true)
            }
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                metrics::failed(Target::Leases, "UpdateItem", CONDITION_FAILED);
                Ok(false)
            }
            Err(error) => Err(failed("UpdateItem", error)),
        }
    }

    async fn delete(&self, key: Item) -> Result<(), TableError> {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(key));
        let response = request.return_consumed_capacity(TOTAL).send().await;
        let response = response.map_err(|error| failed("DeleteItem", error))?;
        self.meter.count("DeleteItem", response.consumed_capacity());
        Ok(())
    }
}

fn failed<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> TableError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    classify_call(Target::Leases, operation, error)
}

impl LeaseTable for ConsumerTable {
    /// A malformed lease is logged and skipped, so that it does not stop the other shards.
    async fn list(&self, stream: &StreamArn, consistent: bool) -> Result<Vec<Lease>, TableError> {
        let items = self.partition(items::lease_pk(stream), consistent).await?;
        let lease = |item: &Item| {
            let report =
                |error: &_| tracing::error!(table = self.name, %error, "a lease is malformed, its shard is not read");
            items::to_lease(item).inspect_err(report).ok()
        };
        Ok(items.iter().filter_map(lease).collect())
    }

    async fn get(&self, stream: &StreamArn, shard: &ShardId) -> Result<Option<Lease>, TableError> {
        let item = self.item(primary_key(items::lease_pk(stream), shard)).await?;
        Ok(item.as_ref().map(items::to_lease).transpose()?)
    }

    async fn last_stream(&self) -> Result<Option<StreamArn>, TableError> {
        let item = self.item(primary_key(items::LAST_STREAM.to_owned(), items::LAST_STREAM)).await?;
        Ok(item.as_ref().map(items::to_last_stream).transpose()?)
    }

    async fn note_stream(&self, stream: &StreamArn) -> Result<(), TableError> {
        self.put_item(items::from_last_stream(stream), None).await.map(drop)
    }

    async fn create(&self, stream: &StreamArn, new: &NewLease) -> Result<(), TableError> {
        self.put_item(items::from_new_lease(stream, new), Some(ABSENT)).await.map(drop)
    }

    async fn write(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        condition: &Condition,
        update: &LeaseUpdate,
    ) -> Result<bool, TableError> {
        self.update(primary_key(items::lease_pk(stream), shard), UpdateExpression::of_lease(condition, update)).await
    }

    async fn remove(&self, stream: &StreamArn, shard: &ShardId) -> Result<(), TableError> {
        self.delete(primary_key(items::lease_pk(stream), shard)).await
    }
}

impl RepairTable for ConsumerTable {
    async fn repair(&self) -> Result<Repair, TableError> {
        let item = self.item(repair_key()).await?;
        Ok(item.as_ref().map(to_repair).transpose()?.unwrap_or_default())
    }

    async fn request_repair(&self, number: u64, at: i64) -> Result<bool, TableError> {
        self.update(repair_key(), UpdateExpression::of_request(number, at)).await
    }

    async fn write_repair(&self, condition: &Condition, update: &RepairUpdate) -> Result<bool, TableError> {
        self.update(repair_key(), UpdateExpression::of_repair(condition, update)).await
    }
}

impl SetAsideTable for ConsumerTable {
    async fn put(&self, aside: &SetAside) -> Result<(), TableError> {
        self.put_item(items::from_set_aside(aside), None).await.map(drop)
    }

    /// A malformed entry is logged and skipped.
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
