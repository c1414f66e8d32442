//! Writes: access patterns C, D and E. Every write is conditional, so no write overwrites an item of another write.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::error::{TableError, classify};
use super::items::{self, Item, VERSION};
use super::keys::{self, SortKey};
use super::records::{GroupRow, Membership, Message};
use super::table::MessagesTable;
use crate::metrics;
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// The outcome of [`MessagesTable::create_conversation`].
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    /// The group and its first message are stored.
    Done,
    /// The two users share this group already. This call wrote nothing. The group is the call's own when an earlier attempt
    /// stored it and its response was lost.
    PairExists(MessageGroupUuid),
    /// Another transaction was writing one of the items. Nothing was written.
    Conflict,
}

/// Rows to delete and to put in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMove {
    /// Rows to delete. The transaction fails when one of them is missing.
    pub delete: Vec<(UserUuid, SortKey)>,
    /// Rows to put. The transaction fails when one of the keys is in use.
    pub put: Vec<GroupRow>,
    /// Required when a put row replaces no deleted row: see [`VersionBump`].
    pub bump: Option<VersionBump>,
}

/// Increments a membership's version on the condition that it is `version`. Of several writers that put a missing row only
/// one succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionBump {
    /// Group of the membership.
    pub group: MessageGroupUuid,
    /// Version that was read before the row was found missing.
    pub version: u64,
}

/// The outcome of [`MessagesTable::move_rows`].
#[derive(Debug, PartialEq, Eq)]
pub enum MoveOutcome {
    /// All rows were deleted and put.
    Done,
    /// A row or the version had changed since it was read. Nothing was written.
    Stale,
    /// The key of a row to put belongs to a row of another group. Nothing was written.
    Taken,
    /// Another transaction was writing one of the items. Nothing was written.
    Conflict,
}

/// The outcome of a transaction.
enum Transacted {
    Done,
    /// Some conditions failed. For each action whose condition failed: the stored item, or an empty item when the engine does
    /// not return it.
    Conditions(Vec<Option<Item>>),
    Conflict,
}

/// Condition that no item has the key.
const ABSENT: &str = "attribute_not_exists(pk)";
/// Error code under which failed conditions are counted in the metrics.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
/// Condition that an item has the key.
const PRESENT: &str = "attribute_exists(pk)";

impl MessagesTable {
    /// Pattern C: stores a message. Returns whether this call stored it; storing the same message again returns `false` and
    /// changes nothing.
    pub async fn put_message(&self, message: &Message) -> Result<bool, TableError> {
        // The key ends in the message's uuid, so an existing item comes from an earlier attempt of this write.
        self.put_if_absent(items::from_message(message)).await
    }

    /// Writes the pair item unless it exists. Returns whether this call wrote it.
    pub async fn put_pair(&self, participants: &[Participant; 2], group: MessageGroupUuid) -> Result<bool, TableError> {
        self.put_if_absent(items::from_pair(participants, group)).await
    }

    /// Writes the membership item unless it exists. Returns whether this call wrote it.
    pub async fn put_membership(&self, membership: &Membership) -> Result<bool, TableError> {
        self.put_if_absent(items::from_membership(membership)).await
    }

    async fn put_if_absent(&self, item: Item) -> Result<bool, TableError> {
        let request = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(ABSENT)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        // Boxed for the reason given in `response_reader::send`.
        match Box::pin(request.send()).await {
            Ok(response) => {
                self.count("PutItem", response.consumed_capacity());
                Ok(true)
            }
            Err(error)
                if matches!(error.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) =>
            {
                metrics::failed("PutItem", CONDITION_FAILED);
                Ok(false)
            }
            Err(error) => Err(classify("PutItem", error)),
        }
    }

    /// Pattern D: stores a new conversation in one transaction: the pair and membership items, its first message, and both
    /// rows. The rows show `newest`, which is the first message unless the caller stores more messages afterwards.
    ///
    /// For ten minutes DynamoDB executes requests with the same `token` once and reports success for each repetition.
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
            // All other keys of the transaction contain a new uuid, so they are in use only together with the pair's key.
            Transacted::Conditions(failed) => match failed.into_iter().next().flatten() {
                Some(pair) if !pair.is_empty() => Ok(Created::PairExists(items::to_pair(&pair)?)),
                _ => match self.group_of_pair(&membership.participants).await? {
                    Some(group) => Ok(Created::PairExists(group)),
                    None => Ok(Created::Conflict),
                },
            },
        }
    }

    /// Pattern E: deletes and puts rows in one transaction.
    pub async fn move_rows(&self, rows: &RowMove) -> Result<MoveOutcome, TableError> {
        let deletes = rows.delete.iter().map(|(owner, sort_key)| self.delete(*owner, sort_key));
        let puts = rows.put.iter().map(|row| self.put(items::from_group_row(row)));
        let bump = rows.bump.iter().map(|bump| self.bump(bump));
        match self.transact(None, puts.chain(deletes).chain(bump).collect()).await? {
            Transacted::Done => Ok(MoveOutcome::Done),
            Transacted::Conflict => Ok(MoveOutcome::Conflict),
            Transacted::Conditions(failed) => {
                let is_of_another_group = |(row, item): (&GroupRow, Option<Item>)| {
                    let item = item.filter(|item| !item.is_empty());
                    // A malformed item is not a row of this group either.
                    item.is_some_and(|item| items::to_group_row(&item).map_or(true, |found| found.group != row.group))
                };
                let taken = rows.put.iter().zip(failed).any(is_of_another_group);
                Ok(if taken { MoveOutcome::Taken } else { MoveOutcome::Stale })
            }
        }
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

    fn delete(&self, owner: UserUuid, sort_key: &SortKey) -> TransactWriteItem {
        let delete = Delete::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::groups_pk(owner), sort_key.as_str())))
            .condition_expression(PRESENT)
            .build();
        // `build` fails only without a table name or a key, and both were given.
        TransactWriteItem::builder().delete(delete.expect("a complete delete")).build()
    }

    fn bump(&self, bump: &VersionBump) -> TransactWriteItem {
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(items::key(keys::membership_pk(bump.group), keys::MEMBERSHIP_SK)))
            .update_expression("SET #version = :next")
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":version", AttributeValue::N(bump.version.to_string()))
            .expression_attribute_values(":next", AttributeValue::N(bump.version.saturating_add(1).to_string()))
            .build();
        // `build` fails only without a table name, a key or an expression, and all were given.
        TransactWriteItem::builder().update(update.expect("a complete update")).build()
    }

    /// Runs a transaction. A repeated call with the same `token` and actions succeeds without a second effect. Without
    /// `token` the SDK generates one for its own retries.
    async fn transact(&self, token: Option<String>, actions: Vec<TransactWriteItem>) -> Result<Transacted, TableError> {
        let request = self
            .client
            .transact_write_items()
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_client_request_token(token)
            .set_transact_items(Some(actions));
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
            // A transaction with this token was executed before. Some engines compare the text of requests, and the order of
            // maps in it varies, so they do not recognize a repetition. The caller reads what was written.
            metrics::failed(operation, "IdempotentParameterMismatchException");
            return Ok(Transacted::Conditions(Vec::new()));
        }
        let code = |reason: &CancellationReason, codes: &[&str]| reason.code().is_some_and(|it| codes.contains(&it));
        let some = |codes: &[&str]| reasons.iter().any(|reason| code(reason, codes));
        if some(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) || error.code() == Some("ValidationException")
        {
            metrics::failed(operation, "ValidationException");
            return Err(TableError::Invalid { operation, source: Box::new(error) });
        }
        if some(&["ConditionalCheckFailed"]) {
            let failed = |reason: &CancellationReason| {
                code(reason, &["ConditionalCheckFailed"]).then(|| reason.item().cloned().unwrap_or_default())
            };
            metrics::failed(operation, CONDITION_FAILED);
            return Ok(Transacted::Conditions(reasons.iter().map(failed).collect()));
        }
        if some(&["TransactionConflict"]) {
            metrics::failed(operation, "TransactionConflictException");
            return Ok(Transacted::Conflict);
        }
        if some(&["ProvisionedThroughputExceeded", "ThrottlingError"]) {
            metrics::failed(operation, "ThrottlingException");
            let code = error.code().map(str::to_owned);
            return Err(TableError::Unavailable { operation, code, source: Box::new(error) });
        }
        Err(classify(operation, error))
    }
}
