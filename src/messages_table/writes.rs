//! Writes: access patterns C, D and E. Every write is conditional, so no write overwrites the result of another one.

use std::sync::Arc;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use chrono::{DateTime, Utc};

use super::attributes::{Item, primary_key, text};
use super::error::{TableError, classify};
use super::feed::FeedEntry;
use super::feed_items;
use super::items::{self, FED, READ_SK, VERSION};
use super::keys::{self, MESSAGE_GROUP_UUID};
use super::records::{FirstRequest, GroupRow, Membership, Message};
use super::table::MessagesTable;
use crate::metrics::{self, Target};
use crate::model::{MessageGroupUuid, Participant};

/// The outcome of [`MessagesTable::create_conversation`].
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    /// The group and its first message are stored.
    Done,
    /// The two users already share this group. This call wrote nothing. If an earlier attempt has stored the group and its
    /// response was lost, it is the group of the call itself.
    PairExists(MessageGroupUuid),
    /// Another transaction was writing one of the items. Nothing was written.
    Conflict,
}

/// The writes of one transaction to the rows of one group. The transaction fails if a row that it deletes or updates has changed
/// since it was read: the row has moved, messages were fed, or its read marker has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupUpdate {
    /// Group of all rows.
    pub group: MessageGroupUuid,
    /// Rows to delete, as they were read.
    pub delete: Vec<GroupRow>,
    /// Rows to put. The transaction fails if one of the keys is in use.
    pub put: Vec<GroupRow>,
    /// Rows that keep their keys: each as it was read, and as it will be.
    pub update: Vec<(GroupRow, GroupRow)>,
    /// Required if a put row replaces no deleted row: the version of the membership that was read before the row was found to be
    /// missing. The transaction increments the version on the condition that it has not changed, so that only one of several
    /// writers puts the row.
    pub bump: Option<u64>,
}

/// The outcome of [`MessagesTable::apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Everything was written.
    Done,
    /// Nothing was written.
    Failed {
        /// For each group, why its rows could not be written. `None` if its conditions held.
        groups: Vec<Option<UpdateProblem>>,
        /// For each entry, whether its position is in use. Only tests read it.
        taken: Vec<bool>,
    },
    /// Another transaction was writing one of the items. Nothing was written.
    Conflict,
}

/// Why the rows of a group could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateProblem {
    /// A row or the version has changed since it was read.
    Stale,
    /// The key of a row to put belongs to a row of another group.
    Taken,
}

/// The outcome of a transaction.
enum Transacted {
    Done,
    /// Some conditions failed. Contains, for each action whose condition failed, the stored item, or an empty item if the engine
    /// does not return it; and `None` for the other actions. Empty if the engine does not say which conditions failed.
    Conditions(Vec<Option<Item>>),
    Conflict,
}

/// Condition that no item has the key.
const ABSENT: &str = "attribute_not_exists(pk)";
/// Error code under which failed conditions are counted in the metrics.
pub(super) const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

impl MessagesTable {
    /// Pattern C: stores a message unless it is already stored. Returns whether this call stored it.
    pub async fn put_message(&self, message: &Message) -> Result<bool, TableError> {
        // The key contains the message's uuid, so an existing item was stored by an earlier attempt of this write.
        self.put_if_absent(items::from_message(message)).await.map(|existing| existing.is_none())
    }

    /// Writes the pair item unless it exists. Returns whether this call wrote it.
    pub async fn put_pair(&self, participants: &[Participant; 2], group: MessageGroupUuid) -> Result<bool, TableError> {
        self.put_if_absent(items::from_pair(participants, group)).await.map(|existing| existing.is_none())
    }

    /// Writes the membership item unless it exists. Returns whether this call wrote it.
    pub async fn put_membership(&self, membership: &Membership) -> Result<bool, TableError> {
        self.put_if_absent(items::from_membership(membership)).await.map(|existing| existing.is_none())
    }

    /// Stores the first request with an idempotency key. Returns `None` if this call stored it. If the key is in use, even by an
    /// earlier attempt of this write, returns the stored request.
    pub async fn put_first_request(&self, request: &FirstRequest) -> Result<Option<FirstRequest>, TableError> {
        let (author, key) = (request.author, request.key);
        let Some(existing) = self.put_if_absent(items::from_first_request(request)).await? else { return Ok(None) };
        if !existing.is_empty() {
            return Ok(Some(items::to_first_request(author, key, &existing)?));
        }
        match self.first_request(author, key).await? {
            Some(first) => Ok(Some(first)),
            None => {
                // The item was deleted between the two calls, so another attempt can store this one.
                let (operation, code) = ("PutItem", Some(CONDITION_FAILED.to_owned()));
                let source = Arc::new(std::io::Error::other("the existing item was deleted"));
                Err(TableError::Unavailable { operation, code, source })
            }
        }
    }

    /// Writes the marker, which says that every legacy group is adopted, unless it exists. Returns whether this call wrote it.
    pub async fn put_marker(&self, adopted_at: DateTime<Utc>) -> Result<bool, TableError> {
        self.put_if_absent(items::from_marker(adopted_at)).await.map(|existing| existing.is_none())
    }

    /// Puts an item unless its key is in use. Returns `None` if this call put it. Otherwise returns the existing item, or an
    /// empty item if the engine does not return it.
    async fn put_if_absent(&self, item: Item) -> Result<Option<Item>, TableError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let _permit = self.permit().await;
        // Boxed for the reason given in `response_reader::send`.
        let error = match Box::pin(request.send()).await {
            Ok(response) => {
                self.count("PutItem", response.consumed_capacity());
                return Ok(None);
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                metrics::failed(Target::Messages, "PutItem", CONDITION_FAILED);
                Ok(Some(failed.item().cloned().unwrap_or_default()))
            }
            _ => Err(classify("PutItem", error)),
        }
    }

    /// Pattern D: stores a new conversation in one transaction: the pair and membership items, its first message, and both
    /// rows. The rows contain `newest`, which is `first` unless the caller stores further messages afterwards.
    ///
    /// For ten minutes, DynamoDB executes requests with the same `token` only once, and reports success for each repetition.
    pub async fn create_conversation(
        &self,
        token: Option<String>,
        membership: &Membership,
        first: &Message,
        newest: &Message,
    ) -> Result<Created, TableError> {
        let pair = self.put(items::from_pair(&membership.participants, membership.group));
        let others = [items::from_membership(membership), items::from_message(first)];
        let rows = membership.rows(newest);
        let rows = rows.iter().map(items::from_group_row);
        let actions = std::iter::once(pair).chain(others.into_iter().chain(rows).map(|item| self.put(item)));
        match self.transact(token, actions.collect()).await? {
            Transacted::Done => Ok(Created::Done),
            Transacted::Conflict => Ok(Created::Conflict),
            // The first condition is that of the pair item. All other keys contain a new uuid, so they are in use only if the
            // pair's key is in use too.
            Transacted::Conditions(failed) => match failed.into_iter().next().flatten() {
                Some(pair) if !pair.is_empty() => Ok(Created::PairExists(items::to_pair(&pair)?)),
                _ => match self.group_of_pair(&membership.participants).await? {
                    Some(group) => Ok(Created::PairExists(group)),
                    None => Ok(Created::Conflict),
                },
            },
        }
    }

    /// Pattern E: writes the rows of groups and appends feed entries, all in one transaction.
    pub async fn apply(&self, updates: &[GroupUpdate], entries: &[FeedEntry]) -> Result<Applied, TableError> {
        let mut actions: Vec<TransactWriteItem> =
            entries.iter().map(|entry| self.put(feed_items::from_feed_entry(entry))).collect();
        for update in updates {
            actions.extend(update.put.iter().map(|row| self.put(items::from_group_row(row))));
            actions.extend(update.delete.iter().map(|row| self.delete(row)));
            actions.extend(update.update.iter().map(|(before, after)| self.update(before, after)));
            actions.extend(update.bump.map(|version| self.bump(update.group, version)));
        }
        let failed = match self.transact(None, actions).await? {
            Transacted::Done => return Ok(Applied::Done),
            Transacted::Conflict => return Ok(Applied::Conflict),
            Transacted::Conditions(failed) => failed,
        };
        // If the engine does not say which conditions failed, each of them may have failed.
        let mut failed = failed.into_iter().chain(std::iter::repeat(Some(Item::new())));
        let taken = failed.by_ref().take(entries.len()).map(|item| item.is_some()).collect();
        let mut problem = |update: &GroupUpdate| {
            let puts: Vec<_> = failed.by_ref().take(update.put.len()).collect();
            let others = update.delete.len() + update.update.len() + update.bump.iter().len();
            let is_stale = failed.by_ref().take(others).filter(Option::is_some).count() > 0;
            if puts.iter().flatten().any(|item| is_of_another_group(item, update.group)) {
                return Some(UpdateProblem::Taken);
            }
            (is_stale || puts.iter().any(Option::is_some)).then_some(UpdateProblem::Stale)
        };
        let groups = updates.iter().map(&mut problem).collect();
        Ok(Applied::Failed { groups, taken })
    }

    fn put(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(ABSENT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        // `build` fails only without a table name or an item, and both were given.
        TransactWriteItem::builder().put(put.expect("a complete put")).build()
    }

    fn delete(&self, row: &GroupRow) -> TransactWriteItem {
        let (condition, values) = unchanged(row);
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(primary_key(keys::groups_pk(row.owner), row.sort_key.as_str())))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .build();
        // `build` fails only without a table name or a key, and both were given.
        TransactWriteItem::builder().delete(delete.expect("a complete delete")).build()
    }

    fn update(&self, before: &GroupRow, after: &GroupRow) -> TransactWriteItem {
        let (condition, mut values) = unchanged(before);
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(primary_key(keys::groups_pk(before.owner), before.sort_key.as_str())))
            .update_expression(items::progress_update(after, &mut values))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .build();
        // `build` fails only without a table name, a key or an expression, and all were given.
        TransactWriteItem::builder().update(update.expect("a complete update")).build()
    }

    fn bump(&self, group: MessageGroupUuid, version: u64) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(primary_key(keys::membership_pk(group), keys::MEMBERSHIP_SK)))
            .update_expression("SET #version = :next")
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":version", AttributeValue::N(version.to_string()))
            .expression_attribute_values(":next", AttributeValue::N(version.saturating_add(1).to_string()))
            .build();
        // `build` fails only without a table name, a key or an expression, and all were given.
        TransactWriteItem::builder().update(update.expect("a complete update")).build()
    }

    /// Runs a transaction. A repeated call with the same `token` and actions succeeds without a second effect. Without `token`,
    /// the SDK generates one for its own retries.
    async fn transact(&self, token: Option<String>, actions: Vec<TransactWriteItem>) -> Result<Transacted, TableError> {
        let request = self
            .client
            .transact_write_items()
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_client_request_token(token)
            .set_transact_items(Some(actions));
        let _permit = self.permit().await;
        let error = match Box::pin(request.send()).await {
            Ok(response) => {
                self.count("TransactWriteItems", response.consumed_capacity());
                return Ok(Transacted::Done);
            }
            Err(error) => error,
        };
        let operation = "TransactWriteItems";
        let reasons: &[CancellationReason] = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled.cancellation_reasons(),
            _ => &[],
        };
        if error.as_service_error().is_some_and(|it| it.is_idempotent_parameter_mismatch_exception()) {
            // A transaction with this token was executed before. Some engines compare the texts of requests, in which the order
            // of maps varies, so they do not recognize a repetition. The caller must read what was written.
            metrics::failed(Target::Messages, operation, "IdempotentParameterMismatchException");
            return Ok(Transacted::Conditions(Vec::new()));
        }
        let code = |reason: &CancellationReason, codes: &[&str]| reason.code().is_some_and(|it| codes.contains(&it));
        let some = |codes: &[&str]| reasons.iter().any(|reason| code(reason, codes));
        if some(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) || error.code() == Some("ValidationException")
        {
            metrics::failed(Target::Messages, operation, "ValidationException");
            return Err(TableError::Invalid { operation, source: Arc::new(error) });
        }
        if some(&["ConditionalCheckFailed"]) {
            let failed = |reason: &CancellationReason| {
                code(reason, &["ConditionalCheckFailed"]).then(|| reason.item().cloned().unwrap_or_default())
            };
            metrics::failed(Target::Messages, operation, CONDITION_FAILED);
            return Ok(Transacted::Conditions(reasons.iter().map(failed).collect()));
        }
        if some(&["TransactionConflict"]) {
            metrics::failed(Target::Messages, operation, "TransactionConflictException");
            return Ok(Transacted::Conflict);
        }
        if some(&["ProvisionedThroughputExceeded", "ThrottlingError"]) {
            metrics::failed(Target::Messages, operation, "ThrottlingException");
            let code = error.code().map(str::to_owned);
            return Err(TableError::Unavailable { operation, code, source: Arc::new(error) });
        }
        Err(classify(operation, error))
    }
}

/// Returns the condition that a row has not changed since it was read, and the values of the condition. It checks `fed` and the
/// read marker. Only the consumer changes the other attributes, and only together with `fed` or the key.
pub(super) fn unchanged(row: &GroupRow) -> (String, Item) {
    let mut condition = format!("{MESSAGE_GROUP_UUID} = :group");
    let mut values = Item::from([(":group".to_owned(), text(row.group))]);
    let fed = (!row.fed.is_empty()).then(|| text(&row.fed));
    let marker = row.reading.as_ref().and_then(|reading| reading.marker.as_ref()).map(text);
    for (attribute, placeholder, value) in [(FED, ":seen_fed", fed), (READ_SK, ":seen_marker", marker)] {
        match value {
            Some(value) => {
                condition.push_str(&format!(" AND {attribute} = {placeholder}"));
                values.insert(placeholder.to_owned(), value);
            }
            None => condition.push_str(&format!(" AND attribute_not_exists({attribute})")),
        }
    }
    (condition, values)
}

/// Whether a stored item is not a row of `group`. A malformed item counts as one of another group.
fn is_of_another_group(item: &Item, group: MessageGroupUuid) -> bool {
    !item.is_empty() && items::to_group_row(item).map_or(true, |row| row.group != group)
}
