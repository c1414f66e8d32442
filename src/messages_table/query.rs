//! One Query, page after page.

use std::sync::LazyLock;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::answer::{Answer, TakeBody};
use super::error::{TableError, classify};
use super::items::{Attributes, PROJECTION};
use super::keys::{GROUP_INDEX, MESSAGE_GROUP_UUID};
use super::range::{Direction, SortKeyRange};
use super::{ItemError, MessagesTable};
use crate::metrics;

/// Answers carry no attribute that nothing reads. No attribute of the table is among DynamoDB's reserved words, so that
/// expressions name them as they are.
static PROJECTED: LazyLock<String> = LazyLock::new(|| PROJECTION.join(", "));

/// How many items a page has at most that was widened: they are read into memory, wanted or not.
const WIDEST_PAGE: i32 = 1_000;

/// How an item is converted.
pub(super) type Read<T> = fn(&dyn Attributes) -> Result<T, ItemError>;

/// A Query under way.
pub(super) struct Pages<'a> {
    table: &'a MessagesTable,
    request: QueryFluentBuilder,
    done: bool,
}

impl<'a> Pages<'a> {
    /// The items of the partition `pk` in `range`, at most `page` of them at once beside what the range drops.
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
        Self { table, request, done: range.is_empty() }
    }

    /// The index's rows of one group, which may lag behind the table.
    pub fn of_index(table: &'a MessagesTable, group: AttributeValue) -> Self {
        let request = Self::base(table)
            .index_name(GROUP_INDEX)
            .key_condition_expression(format!("{MESSAGE_GROUP_UUID} = :group"))
            .expression_attribute_values(":group", group);
        Self { table, request, done: false }
    }

    /// Only items whose `attribute` is `value`. DynamoDB reads, and charges for, the others all the same.
    #[must_use]
    pub fn where_equal(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.request = self
            .request
            .filter_expression(format!("{attribute} = :filter"))
            .expression_attribute_values(":filter", value);
        self
    }

    fn base(table: &MessagesTable) -> QueryFluentBuilder {
        let request = table.client.query().table_name(&table.name).projection_expression(&*PROJECTED);
        request.return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Asks for twice as many at once from the next page on: of those there were, few were wanted.
    pub fn widen(&mut self) {
        if !self.done {
            let wider = self.request.get_limit().map(|limit| limit.saturating_mul(2).min(WIDEST_PAGE));
            self.request = self.request.clone().set_limit(wider);
        }
    }

    /// The next page, read as `read` does; `None` after the last one.
    pub async fn next<T>(&mut self, read: Read<T>) -> Result<Option<Vec<T>>, TableError> {
        if self.done {
            return Ok(None);
        }
        let body = TakeBody::default();
        let request = self.request.clone().customize().config_override(body.taken_from());
        // On the heap, since it is large: each future that it is part of would be as large, and is moved about.
        Box::pin(request.send()).await.map_err(|error| classify("Query", error))?;
        let body = body.taken();
        let page = Answer::read(&body).map_err(unreadable)?;
        self.table.count_units("Query", page.units());
        let next = page.next_key();
        self.done = next.is_none();
        if !self.done {
            self.request = self.request.clone().set_exclusive_start_key(next);
        }
        Ok(Some(page.items().iter().filter_map(|item| readable(read(item))).collect()))
    }

    /// All that is left, read as `read` does.
    pub async fn all<T>(mut self, read: Read<T>) -> Result<Vec<T>, TableError> {
        let mut found = Vec::new();
        while let Some(page) = self.next(read).await? {
            found.extend(page);
        }
        Ok(found)
    }
}

/// An answer that is none: something else answers in DynamoDB's place.
fn unreadable(error: serde_json::Error) -> TableError {
    metrics::failed("Query", "unreadable");
    TableError::Unavailable { operation: "Query", code: None, source: Box::new(error) }
}

/// A malformed item among many is reported and passed over: one of them must not take a whole list away.
pub(super) fn readable<T>(read: Result<T, ItemError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "malformed item passed over")).ok()
}
