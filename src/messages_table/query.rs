//! One Query, page after page.

use std::sync::LazyLock;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::error::{TableError, classify};
use super::items::{Item, PROJECTION};
use super::keys::{GROUP_INDEX, MESSAGE_GROUP_UUID};
use super::range::{Direction, KEY_NAMES, SortKeyRange};
use super::{ItemError, MessagesTable};

/// `#a0, #a1, …` for [`PROJECTION`], and the names behind. Answers carry no attribute that nothing reads.
static PROJECTED: LazyLock<(String, Vec<String>)> = LazyLock::new(|| {
    let placeholders: Vec<String> = (0..PROJECTION.len()).map(|index| format!("#a{index}")).collect();
    (placeholders.join(", "), placeholders)
});

/// A Query under way.
pub(super) struct Pages {
    request: QueryFluentBuilder,
    done: bool,
}

impl Pages {
    /// The items of the partition `pk` in `range`, at most `page` of them at once beside what the range drops.
    pub fn of_partition(
        table: &MessagesTable,
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
        for (placeholder, name) in KEY_NAMES.into_iter().filter(|(it, _)| condition.expression.contains(it)) {
            request = request.expression_attribute_names(placeholder, name);
        }
        let limit = page.and_then(|page| i32::try_from(page + condition.surplus).ok());
        let request =
            request.scan_index_forward(direction == Direction::Ascending).set_limit(limit.map(|limit| limit.max(1)));
        Self { request, done: range.is_empty() }
    }

    /// The index's rows of one group, which may lag behind the table.
    pub fn of_index(table: &MessagesTable, group: AttributeValue) -> Self {
        let request = Self::base(table)
            .index_name(GROUP_INDEX)
            .key_condition_expression("#group = :group")
            .expression_attribute_names("#group", MESSAGE_GROUP_UUID)
            .expression_attribute_values(":group", group);
        Self { request, done: false }
    }

    /// Only items whose `attribute` is `value`. DynamoDB reads, and charges for, the others all the same.
    #[must_use]
    pub fn where_equal(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.request = self
            .request
            .filter_expression("#filter = :filter")
            .expression_attribute_names("#filter", attribute)
            .expression_attribute_values(":filter", value);
        self
    }

    fn base(table: &MessagesTable) -> QueryFluentBuilder {
        let (projection, placeholders) = &*PROJECTED;
        let request = table.client.query().table_name(&table.name).projection_expression(projection);
        placeholders
            .iter()
            .zip(PROJECTION)
            .fold(request, |request, (placeholder, name)| request.expression_attribute_names(placeholder, name))
    }

    /// The next page; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<Item>>, TableError> {
        if self.done {
            return Ok(None);
        }
        let page = self.request.clone().send().await.map_err(|error| classify("Query", error))?;
        self.done = page.last_evaluated_key.is_none();
        self.request = self.request.clone().set_exclusive_start_key(page.last_evaluated_key);
        Ok(Some(page.items.unwrap_or_default()))
    }

    /// All that is left, read as `read` does.
    pub async fn all<T>(mut self, read: fn(&Item) -> Result<T, ItemError>) -> Result<Vec<T>, TableError> {
        let mut found = Vec::new();
        while let Some(page) = self.next().await? {
            found.extend(page.iter().filter_map(|item| readable(read(item))));
        }
        Ok(found)
    }
}

/// A malformed item among many is reported and passed over: one of them must not take a whole list away.
pub(super) fn readable<T>(read: Result<T, ItemError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "malformed item passed over")).ok()
}
