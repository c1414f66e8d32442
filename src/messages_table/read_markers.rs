//! Writes read markers. A read marker says which messages the owner of a row has read.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::attributes::primary_key;
use super::error::{TableError, classify};
use super::items::{self, RECEIVED};
use super::keys;
use super::reading::Reading;
use super::records::GroupRow;
use super::table::MessagesTable;
use super::writes::{CONDITION_FAILED, unchanged};
use crate::metrics::{self, Target};

/// Error code of DynamoDB if a transaction is writing the row.
const CONFLICT: &str = "TransactionConflictException";

impl MessagesTable {
    /// Writes `reading` to a row. If the row has changed since it was read, returns `false` and writes nothing. The row
    /// changes if it moves, if messages are fed, or if its read marker moves.
    ///
    /// If the response to the write is lost, the SDK repeats the write, and this function returns `false` although the row has
    /// the marker.
    pub async fn put_reading(&self, row: &GroupRow, reading: Reading) -> Result<bool, TableError> {
        let (mut condition, mut values) = unchanged(row);
        match &row.reading {
            Some(before) => {
                condition.push_str(&format!(" AND {RECEIVED} = :seen_received"));
                values.insert(":seen_received".to_owned(), AttributeValue::N(before.received.to_string()));
            }
            None => condition.push_str(&format!(" AND attribute_not_exists({RECEIVED})")),
        }
        let after = GroupRow { reading: Some(reading), ..row.clone() };
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(primary_key(keys::groups_pk(row.owner), row.sort_key.as_str())))
            .update_expression(items::progress_update(&after, &mut values))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let operation = "UpdateItem";
        let _permit = self.permit().await;
        // Boxed for the reason given in `response_reader::send`.
        match Box::pin(request.send()).await {
            Ok(response) => {
                self.count(operation, response.consumed_capacity());
                Ok(true)
            }
            Err(error) if matches!(error.code(), Some(CONDITION_FAILED | CONFLICT)) => {
                metrics::failed(Target::Messages, operation, error.code().unwrap_or_default());
                Ok(false)
            }
            Err(error) => Err(classify(operation, error)),
        }
    }
}
