//! Queries, read page by page.
//!
//! [`Pages`] builds the request and stores the position of the next page. `response_reader` sends the request and decodes the
//! response.

use std::sync::LazyLock;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::attributes::{Convert, ItemError};
use super::error::TableError;
use super::items::{MESSAGE_USER_UUID, PROJECTION, USER_UUID};
use super::keys::{GROUP_INDEX, MESSAGE_GROUP_UUID, PK, SK};
use super::range::{Direction, SortKeyRange};
use super::response_reader;
use super::table::MessagesTable;

/// Projection expression that limits responses to the attributes that conversion reads. None of them is a reserved word of
/// DynamoDB, so expressions use the names without placeholders.
static PROJECTED: LazyLock<String> = LazyLock::new(|| PROJECTION.join(", "));

/// Maximum number of items of a page after [`Pages::widen`]. All items of a page are in memory at the same time.
const WIDEST_PAGE: i32 = 1_000;

/// The remaining pages of a Query.
pub(super) struct Pages<'a> {
    table: &'a MessagesTable,
    request: QueryFluentBuilder,
    done: bool,
    units: f64,
}

impl<'a> Pages<'a> {
    /// The items of the partition `pk` in `range`, read in pages of `page` items. A page may hold more items, because the
    /// key condition can include bounds that the range excludes.
    pub fn of_partition(
        table: &'a MessagesTable,
        pk: String,
        range: &SortKeyRange,
        direction: Direction,
        page: Option<usize>,
    ) -> Self {
        let condition = range.condition(pk);
        let mut request = Self::base(table).consistent_read(true).key_condition_expression(condition.expression);
        for (name, value) in condition.values {
            request = request.expression_attribute_values(name, value);
        }
        let limit = page.and_then(|page| i32::try_from(page + condition.surplus).ok());
        let request =
            request.scan_index_forward(direction == Direction::Ascending).set_limit(limit.map(|limit| limit.max(1)));
        Self { table, request, done: range.is_empty(), units: 0.0 }
    }

    /// The rows of one group in the index. Eventually consistent.
    pub fn of_index(table: &'a MessagesTable, group: AttributeValue) -> Self {
        let request = Self::base(table)
            .index_name(GROUP_INDEX)
            .key_condition_expression(format!("{MESSAGE_GROUP_UUID} = :group"))
            .expression_attribute_values(":group", group);
        Self { table, request, done: false, units: 0.0 }
    }

    /// Filters for items whose `attribute` equals `value`. DynamoDB still reads the other items and charges for them.
    #[must_use]
    pub fn where_equal(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.request = self
            .request
            .filter_expression(format!("{attribute} = :filter"))
            .expression_attribute_values(":filter", value);
        self
    }

    /// Filters for legacy rows, and reads only the attributes that
    /// [`to_other_and_group`](super::items::to_other_and_group) and its errors need.
    #[must_use]
    pub fn legacy_rows(mut self) -> Self {
        self.request = self
            .request
            .filter_expression(format!("attribute_not_exists({MESSAGE_USER_UUID})"))
            .projection_expression([PK, SK, USER_UUID, MESSAGE_GROUP_UUID].join(", "));
        self
    }

    fn base(table: &MessagesTable) -> QueryFluentBuilder {
        let request = table.client.query().table_name(&table.name).projection_expression(&*PROJECTED);
        request.return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Doubles the number of items of the following pages. Useful if the caller has kept few items of the last page.
    pub fn widen(&mut self) {
        if !self.done {
            let wider = self.request.get_limit().map(|limit| limit.saturating_mul(2).min(WIDEST_PAGE));
            self.request = self.request.clone().set_limit(wider);
        }
    }

    /// Reads the next page and converts its items. Returns `None` after the last page. Malformed items are logged and
    /// skipped.
    pub async fn next<T>(&mut self, convert: Convert<T>) -> Result<Option<Vec<T>>, TableError> {
        if self.done {
            return Ok(None);
        }
        let permit = self.table.permit().await;
        let page = response_reader::send(self.request.clone(), convert).await?;
        drop(permit);
        self.table.count_units("Query", page.units);
        self.units += page.units;
        self.done = page.next_key.is_none();
        if !self.done {
            self.request = self.request.clone().set_exclusive_start_key(page.next_key);
        }
        Ok(Some(page.items.into_iter().filter_map(well_formed).collect()))
    }

    /// Whether the last page was read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Read units that the pages have consumed so far.
    pub fn units(&self) -> f64 {
        self.units
    }

    /// Reads all remaining pages.
    pub async fn all<T>(mut self, convert: Convert<T>) -> Result<Vec<T>, TableError> {
        let mut found = Vec::new();
        while let Some(page) = self.next(convert).await? {
            found.extend(page);
        }
        Ok(found)
    }
}

/// Returns the record, or logs the error and returns `None`, so that one malformed item does not make a whole list fail.
pub(super) fn well_formed<T>(converted: Result<T, ItemError>) -> Option<T> {
    converted.inspect_err(|error| tracing::error!(%error, "malformed item skipped")).ok()
}
