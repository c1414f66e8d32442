//! Leases and set-aside records in DynamoDB, in the consumer's own table: beside the messages, each heartbeat would be a
//! stream record.
//!
//! | item | pk | sk | attributes |
//! |---|---|---|---|
//! | lease | `LEASE#{stream}` | shard id | `epoch`, `counter`, `step`, `created_at`, and where known `parent`, `owner`, `checkpoint` (a sequence number, `TRIM_HORIZON`, `BEHIND_GAP` or `SHARD_END`), `handled_until` |
//! | the stream consumed last | `STREAM` | `STREAM` | `stream` |
//! | record set aside | `ASIDE` | `{stream}#{sequence number}` | `reason`, `message_pk`, `message_sk`, `set_aside_at` |

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use super::lease::{Change, Checkpoint, Condition, Lease, LeaseTable, NewLease};
use super::set_aside::{SetAside, SetAsideTable};
use crate::messages_table::TableError;
use crate::messages_table::error::classify;
use crate::messages_table::items::{Item, key};
use crate::messages_table::schema::leases_table_name;

const SHARD_END: &str = "SHARD_END";
const TRIM_HORIZON: &str = "TRIM_HORIZON";
const BEHIND_GAP: &str = "BEHIND_GAP";
const ASIDE: &str = "ASIDE";
/// Both keys of the item that says which stream was consumed last, and the attribute in it.
const LAST_STREAM: &str = "STREAM";
const STREAM: &str = "stream";

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
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let request = self
                .client
                .query()
                .table_name(&self.name)
                .consistent_read(consistent)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(pk.clone()))
                .set_exclusive_start_key(start);
            let page = request.send().await.map_err(|error| classify("Query", error))?;
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
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

fn lease_key(stream: &str, shard: &str) -> Item {
    key(format!("LEASE#{stream}"), shard)
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok())
}

/// A row that lacks its numbers reads as one that nobody has ever taken.
fn lease(item: &Item) -> Option<Lease> {
    Some(Lease {
        shard: text(item, "sk")?,
        parent: text(item, "parent"),
        owner: text(item, "owner"),
        epoch: number(item, "epoch").unwrap_or_default(),
        counter: number(item, "counter").unwrap_or_default(),
        step: number(item, "step").unwrap_or_default(),
        checkpoint: text(item, "checkpoint").map(|text| match text.as_str() {
            SHARD_END => Checkpoint::ShardEnd,
            TRIM_HORIZON => Checkpoint::TrimHorizon,
            BEHIND_GAP => Checkpoint::BehindGap,
            _ => Checkpoint::At(text),
        }),
        created_at: number(item, "created_at"),
        handled_until: number(item, "handled_until"),
    })
}

impl LeaseTable for ConsumerTable {
    /// Twice a second in every process, so for half the price: what is decided by a view that lags, conditions check.
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, TableError> {
        Ok(self.partition(format!("LEASE#{stream}"), false).await?.iter().filter_map(lease).collect())
    }

    async fn get(&self, stream: &str, shard: &str) -> Result<Option<Lease>, TableError> {
        Ok(self.item(lease_key(stream, shard)).await?.as_ref().and_then(lease))
    }

    async fn last_stream(&self) -> Result<Option<String>, TableError> {
        let item = self.item(key(LAST_STREAM.to_owned(), LAST_STREAM)).await?;
        Ok(item.and_then(|item| text(&item, STREAM)))
    }

    async fn note_stream(&self, stream: &str) -> Result<(), TableError> {
        let mut item = key(LAST_STREAM.to_owned(), LAST_STREAM);
        item.insert(STREAM.to_owned(), AttributeValue::S(stream.to_owned()));
        self.put_item(item).await
    }

    async fn create(&self, stream: &str, new: &NewLease) -> Result<(), TableError> {
        let mut item = lease_key(stream, &new.shard.id);
        item.insert("created_at".to_owned(), AttributeValue::N(new.created_at.to_string()));
        if new.is_behind_gap {
            item.insert("checkpoint".to_owned(), AttributeValue::S(BEHIND_GAP.to_owned()));
        }
        item.extend(["epoch", "counter"].map(|name| (name.to_owned(), AttributeValue::N("0".to_owned()))));
        if let Some(parent) = &new.shard.parent {
            item.insert("parent".to_owned(), AttributeValue::S(parent.clone()));
        }
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
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
        stream: &str,
        shard: &str,
        condition: &Condition,
        change: &Change,
    ) -> Result<bool, TableError> {
        let (number, string) =
            (|it: u64| AttributeValue::N(it.to_string()), |it: &str| AttributeValue::S(it.to_owned()));
        let mut request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(lease_key(stream, shard)))
            .expression_attribute_names("#counter", "counter")
            .expression_attribute_values(":one", number(1));
        request = match condition {
            Condition::CounterIs(counter) => request
                .condition_expression("#counter = :counter")
                .expression_attribute_values(":counter", number(*counter)),
            Condition::HeldSince { owner, epoch } => request
                .condition_expression(match change {
                    Change::Advance { .. } => {
                        "#owner = :me AND #epoch = :since AND (attribute_not_exists(#step) OR #step <= :step)"
                    }
                    _ => "#owner = :me AND #epoch = :since",
                })
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_names("#epoch", "epoch")
                .expression_attribute_values(":me", string(owner))
                .expression_attribute_values(":since", number(*epoch)),
        };
        let raise = "SET #counter = #counter + :one";
        request = match change {
            Change::Renew => request.update_expression(raise),
            Change::Release => request
                .update_expression(format!("{raise} REMOVE #owner"))
                .expression_attribute_names("#owner", "owner"),
            Change::Take { owner, epoch } => request
                .update_expression(format!("{raise}, #owner = :owner, #epoch = :epoch REMOVE #step"))
                .expression_attribute_names("#step", "step")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_names("#epoch", "epoch")
                .expression_attribute_values(":owner", string(owner))
                .expression_attribute_values(":epoch", number(*epoch)),
            Change::Advance { step, checkpoint, handled_until } => {
                let checkpoint = match checkpoint {
                    Checkpoint::At(number) => number.as_str(),
                    Checkpoint::ShardEnd => SHARD_END,
                    Checkpoint::TrimHorizon => TRIM_HORIZON,
                    Checkpoint::BehindGap => BEHIND_GAP,
                };
                let until = handled_until.map(|until| AttributeValue::N(until.to_string()));
                let set_until = if until.is_some() { ", handled_until = :until" } else { "" };
                let mut request = request
                    .update_expression(format!("{raise}, #step = :step, checkpoint = :checkpoint{set_until}"))
                    .expression_attribute_names("#step", "step")
                    .expression_attribute_values(":step", number(*step))
                    .expression_attribute_values(":checkpoint", string(checkpoint));
                if let Some(until) = until {
                    request = request.expression_attribute_values(":until", until);
                }
                request
            }
        };
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(false)
            }
            Err(error) => Err(classify("UpdateItem", error)),
        }
    }

    async fn remove(&self, stream: &str, shard: &str) -> Result<(), TableError> {
        self.delete(lease_key(stream, shard)).await
    }
}

fn aside_sk(stream: &str, sequence_number: &str) -> String {
    format!("{stream}#{sequence_number}")
}

impl SetAsideTable for ConsumerTable {
    async fn put(&self, aside: &SetAside) -> Result<(), TableError> {
        let mut item = key(ASIDE.to_owned(), &aside_sk(&aside.stream, &aside.sequence_number));
        for (name, value) in [
            ("reason", &aside.reason),
            ("message_pk", &aside.message_pk),
            ("message_sk", &aside.message_sk),
            ("set_aside_at", &aside.set_aside_at),
        ] {
            item.insert(name.to_owned(), AttributeValue::S(value.clone()));
        }
        self.put_item(item).await
    }

    async fn list(&self) -> Result<Vec<SetAside>, TableError> {
        let read = |item: &Item| {
            let sk = text(item, "sk")?;
            let (stream, sequence_number) = sk.rsplit_once('#')?;
            let of = |name| text(item, name).unwrap_or_default();
            Some(SetAside {
                stream: stream.to_owned(),
                sequence_number: sequence_number.to_owned(),
                reason: of("reason"),
                message_pk: of("message_pk"),
                message_sk: of("message_sk"),
                set_aside_at: of("set_aside_at"),
            })
        };
        Ok(self.partition(ASIDE.to_owned(), true).await?.iter().filter_map(read).collect())
    }

    async fn remove(&self, aside: &SetAside) -> Result<(), TableError> {
        self.delete(key(ASIDE.to_owned(), &aside_sk(&aside.stream, &aside.sequence_number))).await
    }
}
