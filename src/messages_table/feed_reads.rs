//! Reads feeds and counts unread messages. All reads are strongly consistent, because clients rely on the feed to contain
//! all messages that they missed.

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, Select};

use super::error::{TableError, classify};
use super::feed::{FeedEntry, FeedHead};
use super::feed_items::{self, ENTRY_ID, EVENTS};
use super::items::USER_UUID;
use super::keys::{self, SK, SortKey};
use super::table::MessagesTable;
use crate::model::{MessageGroupUuid, UserUuid};

/// Maximum number of messages that a count reads, so that marking an old message as read does not read years of a
/// conversation. Reading 1,000 messages costs about 75 read units, and user interfaces show counts above 99 as "99+".
pub const MAX_COUNTED: i32 = 1_000;

impl MessagesTable {
    /// Returns at most `limit` entries of a feed, beginning at `position`, and whether more entries follow. DynamoDB limits a
    /// page to 1 MB, so the result can have fewer than `limit` entries although more follow. In this case it has at least one.
    ///
    /// # Errors
    /// The call fails, or an entry is malformed. A malformed entry is not skipped, because this would hide messages.
    pub async fn feed_entries(
        &self,
        owner: UserUuid,
        position: u64,
        limit: usize,
    ) -> Result<(Vec<FeedEntry>, bool), TableError> {
        let request = self
            .feed_query(owner, limit)
            .key_condition_expression("pk = :pk AND sk >= :sk")
            .expression_attribute_values(":sk", AttributeValue::S(keys::feed_sk(position)));
        let page = self.send_query(request).await?;
        let entries: Result<_, _> = page.items().iter().map(|item| feed_items::to_feed_entry(owner, item)).collect();
        Ok((entries?, page.last_evaluated_key.is_some()))
    }

    /// Returns the last entry of a feed, or `None` if the feed is empty.
    pub async fn feed_head(&self, owner: UserUuid) -> Result<Option<FeedHead>, TableError> {
        let request = self
            .feed_query(owner, 1)
            .key_condition_expression("pk = :pk")
            .scan_index_forward(false)
            .projection_expression(format!("{SK}, {ENTRY_ID}, {EVENTS}"));
        let page = self.send_query(request).await?;
        Ok(page.items().first().map(feed_items::to_feed_head).transpose()?)
    }

    /// Counts the messages of `author` with sort keys greater than `after` and at most `up_to`, among the first [`MAX_COUNTED`]
    /// messages of the group in this range.
    pub async fn count_messages(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
        after: Option<&SortKey>,
        up_to: &SortKey,
    ) -> Result<u64, TableError> {
        // `BETWEEN` includes both bounds, so `!` is appended to exclude `after`. It sorts before every character with which a
        // longer sort key can continue.
        let after = after.map_or_else(|| "!".to_owned(), |after| format!("{after}!"));
        if after.as_str() > up_to.as_str() {
            return Ok(0);
        }
        let text = AttributeValue::S;
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .select(Select::Count)
            .key_condition_expression("pk = :pk AND sk BETWEEN :after AND :up_to")
            .filter_expression(format!("{USER_UUID} = :author"))
            .expression_attribute_values(":pk", text(keys::messages_pk(group)))
            .expression_attribute_values(":after", text(after))
            .expression_attribute_values(":up_to", text(up_to.as_str().to_owned()))
            .expression_attribute_values(":author", text(author.to_string()));
        let (mut count, mut read) = (0, 0);
        let mut start_key = None;
        loop {
            let page =
                self.send_query(request.clone().limit(MAX_COUNTED - read).set_exclusive_start_key(start_key)).await?;
            count += u64::try_from(page.count()).unwrap_or_default();
            read += page.scanned_count();
            start_key = page.last_evaluated_key;
            if start_key.is_none() || read >= MAX_COUNTED {
                return Ok(count);
            }
        }
    }

    fn feed_query(&self, owner: UserUuid, limit: usize) -> QueryFluentBuilder {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX).max(1);
        let request = self.client.query().table_name(&self.name).consistent_read(true).limit(limit);
        request.expression_attribute_values(":pk", AttributeValue::S(keys::feed_pk(owner)))
    }

    async fn send_query(&self, request: QueryFluentBuilder) -> Result<QueryOutput, TableError> {
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let _permit = self.permit().await;
        let page = Box::pin(request.send()).await.map_err(|error| classify("Query", error))?;
        self.count("Query", page.consumed_capacity());
        Ok(page)
    }
}
