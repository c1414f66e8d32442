//! The writes behind access patterns C, D and E. Each is conditional, so that nothing overwrites anything.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::error::{TableError, classify};
use super::items::{self, Item, VERSION};
use super::keys;
use super::records::{GroupRow, Membership, Message};
use super::{MessagesTable, SortKey};
use crate::metrics;
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// What became of an attempt to begin a conversation.
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    /// The group and its first message are stored.
    Done,
    /// The two users share this group already; nothing was written. It is the attempt's own group when an answer to an
    /// earlier try was lost.
    PairExists(MessageGroupUuid),
    /// Another transaction held one of the items; nothing was written.
    Conflict,
}

/// Rows to delete and to put in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMove {
    /// Rows that give way, each of which must still be there.
    pub delete: Vec<(UserUuid, SortKey)>,
    /// Rows that take their place, where nothing may be yet.
    pub put: Vec<GroupRow>,
    /// When a put row replaces none: the membership version that must still hold.
    pub bump: Option<VersionBump>,
}

/// The condition under which a missing row is put: only one of several writers finds `version` still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionBump {
    /// Whose membership.
    pub group: MessageGroupUuid,
    /// The version read before the row was found missing.
    pub version: u64,
}

/// What became of a move.
#[derive(Debug, PartialEq, Eq)]
pub enum MoveOutcome {
    /// Every row is where the move wanted it.
    Done,
    /// Some row was not what the move took it for; nothing was written.
    Stale,
    /// Another group's row stands where this one was to go; nothing was written.
    Taken,
    /// Another transaction held one of the items; nothing was written.
    Conflict,
}

/// How a transaction ended, when it did not fail.
enum Transacted {
    Done,
    /// For each action, the item on which its condition failed; an empty one where the engine does not return it.
    Conditions(Vec<Option<Item>>),
    Conflict,
}

/// Nothing may stand under the key.
const ABSENT: &str = "attribute_not_exists(pk)";
/// How a write whose condition did not hold is counted.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
/// Something must stand under the key.
const PRESENT: &str = "attribute_exists(pk)";

impl MessagesTable {
    /// Pattern C: stores a message. Storing the same message again is a success that changes nothing. Returns whether this
    /// call stored it.
    pub async fn put_message(&self, message: &Message) -> Result<bool, TableError> {
        // The key ends in the message's own uuid, so what stands there is an earlier try of this very write.
        self.put_if_absent(items::from_message(message)).await
    }

    /// Writes down which group a pair shares, unless that is known already. Returns whether this call did.
    pub async fn put_pair(&self, participants: &[Participant; 2], group: MessageGroupUuid) -> Result<bool, TableError> {
        self.put_if_absent(items::from_pair(participants, group)).await
    }

    /// Writes down who takes part in a group, unless that is known already. Returns whether this call did.
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
        // On the heap, as every call of the SDK: see `Pages::next`.
        match Box::pin(request.send()).await {
            Ok(done) => {
                self.count("PutItem", done.consumed_capacity());
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

    /// Pattern D: begins a conversation with its first message, both rows, the pair and the membership, or nothing. The rows
    /// stand at `newest`, which is the first message unless others are known to follow. Under
    /// the same `token` the engine does it once in ten minutes, and answers every repetition as if it had.
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
            // Every other key of the transaction has a fresh uuid in it and can be taken only together with the pair's.
            Transacted::Conditions(failed) => match failed.into_iter().next().flatten() {
                Some(pair) if !pair.is_empty() => Ok(Created::PairExists(items::to_pair(&pair)?)),
                _ => match self.group_of_pair(&membership.participants).await? {
                    Some(group) => Ok(Created::PairExists(group)),
                    None => Ok(Created::Conflict),
                },
            },
        }
    }

    /// Pattern E: moves rows, all or none.
    pub async fn move_rows(&self, rows: &RowMove) -> Result<MoveOutcome, TableError> {
        let deletes = rows.delete.iter().map(|(owner, sort_key)| self.delete(*owner, sort_key));
        let puts = rows.put.iter().map(|row| self.put(items::from_group_row(row)));
        let bump = rows.bump.iter().map(|bump| self.bump(bump));
        match self.transact(None, puts.chain(deletes).chain(bump).collect()).await? {
            Transacted::Done => Ok(MoveOutcome::Done),
            Transacted::Conflict => Ok(MoveOutcome::Conflict),
            Transacted::Conditions(failed) => {
                let is_not_its_own = |(row, item): (&GroupRow, Option<Item>)| {
                    let item = item.filter(|item| !item.is_empty());
                    // What cannot be read is not the group's row either.
                    item.is_some_and(|item| items::to_group_row(&item).map_or(true, |there| there.group != row.group))
                };
                let taken = rows.put.iter().zip(failed).any(is_not_its_own);
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

    /// Runs a transaction. `token` makes a repeated call with the same actions succeed without doing them twice; the SDK
    /// draws one for its own retries where none is given.
    async fn transact(&self, token: Option<String>, actions: Vec<TransactWriteItem>) -> Result<Transacted, TableError> {
        let request = self
            .client
            .transact_write_items()
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_client_request_token(token)
            .set_transact_items(Some(actions));
        let error = match Box::pin(request.send()).await {
            Ok(done) => {
                self.count("TransactWriteItems", done.consumed_capacity());
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
            // Something was done under the token: an engine that compares the text of requests, where maps have no order,
            // does not know a repetition. What it was, the caller reads.
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
