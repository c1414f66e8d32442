//! Reads: access patterns A and B, and the lookups that C, D and E need.

use std::collections::HashSet;

use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};

use super::attributes::{Item, ItemError, primary_key};
use super::calls::CALLS_OF_REQUEST;
use super::error::{TableError, classify};
use super::items;
use super::keys::{self, GROUP_INDEX, MESSAGE_GROUP_UUID, SortKey};
use super::query::{Pages, well_formed};
use super::range::{Direction, SortKeyRange};
use super::records::{FirstRequest, GroupRow, Membership, Message};
use super::table::MessagesTable;
use crate::model::{IdempotencyKey, MessageGroupUuid, Participant, UserUuid};

/// A contiguous part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<T> {
    /// At most the requested number of items, in the direction of the read.
    pub items: Vec<T>,
    /// Whether more items follow the last one.
    pub more: bool,
}

/// The position at which a scan continues: the key of the last item that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanPosition(Item);

/// Maximum number of items in a page of a scan. A page has about 25 KB, so the capacity of the smallest table suffices for it.
const SCAN_PAGE: i32 = 100;
/// Number of sort keys that [`MessagesTable::recent_sort_keys`] returns.
const RECENT_KEYS: usize = 8;
/// Number of messages that [`MessagesTable::recent_message_by`] reads.
const RECENT_MESSAGES: usize = 100;

impl ScanPosition {
    /// The position after the item with this key.
    pub fn from_key(key: Item) -> Self {
        Self(key)
    }

    /// The key of the last item before the position.
    pub fn key(&self) -> &Item {
        &self.0
    }
}

impl<T> Slice<T> {
    /// Truncates `items` to `limit`. Callers must read one item more than `limit`, if there is one: it shows that more items
    /// follow.
    fn truncated(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}

impl MessagesTable {
    /// Pattern A: returns at most `limit` messages of a group in `range` for which `keep` is true.
    pub async fn messages(
        &self,
        group: MessageGroupUuid,
        range: &SortKeyRange,
        direction: Direction,
        limit: usize,
        keep: impl Fn(&Message) -> bool,
    ) -> Result<Slice<Message>, TableError> {
        let mut pages = Pages::of_partition(self, keys::messages_pk(group), range, direction, Some(limit + 1));
        let mut found = Vec::new();
        while found.len() <= limit
            && let Some(page) = pages.next(items::to_message).await?
        {
            let wanted = |message: &Message| range.contains(message.sort_key.as_str()) && keep(message);
            found.extend(page.into_iter().filter(wanted));
            if found.len() <= limit {
                pages.widen();
            }
        }
        Ok(Slice::truncated(found, limit))
    }

    /// Returns the newest message of a group, or `None` if the group has no message.
    pub async fn newest_message(&self, group: MessageGroupUuid) -> Result<Option<Message>, TableError> {
        let all = SortKeyRange::all();
        let mut pages = Pages::of_partition(self, keys::messages_pk(group), &all, Direction::Descending, Some(1));
        while let Some(page) = pages.next(items::to_message).await? {
            if let Some(newest) = page.into_iter().next() {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// Returns the sort keys of the newest messages of a group, newest first. Each row of the group probably has one of them.
    pub async fn recent_sort_keys(&self, group: MessageGroupUuid) -> Result<Vec<SortKey>, TableError> {
        let newest = self.messages(group, &SortKeyRange::all(), Direction::Descending, RECENT_KEYS, |_| true).await?;
        Ok(newest.items.into_iter().map(|message| message.sort_key).collect())
    }

    /// Returns the newest message of an author among the newest 100 messages of a group.
    pub async fn recent_message_by(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
    ) -> Result<Option<Message>, TableError> {
        let all = SortKeyRange::all();
        let newest = self.messages(group, &all, Direction::Descending, RECENT_MESSAGES, |_| true).await?;
        Ok(newest.items.into_iter().find(|message| message.author.uuid == author))
    }

    /// Pattern B: returns at most `limit` of a user's message group rows with sort keys less than `after`, newest first, with
    /// one row for each group.
    ///
    /// Some lists of the legacy system contain two rows of one group, of which only the newer one is returned. Within one call,
    /// this is the first row of the group. With `after`, a Query of the index shows whether a row has a newer one before
    /// `after`.
    pub async fn message_groups(
        &self,
        user: UserUuid,
        after: Option<&SortKey>,
        limit: usize,
    ) -> Result<Slice<GroupRow>, TableError> {
        let range = match after {
            Some(after) => SortKeyRange::all().below(after.as_str()),
            None => SortKeyRange::all(),
        };
        let mut pages =
            Pages::of_partition(self, keys::groups_pk(user), &range, Direction::Descending, Some(limit + 1));
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        while found.len() <= limit
            && let Some(page) = pages.next(items::to_group_row).await?
        {
            let mut rows: Vec<GroupRow> = page
                .into_iter()
                .filter(|row| range.contains(row.sort_key.as_str()) && seen.insert(row.group))
                .collect();
            if after.is_some() {
                self.remove_older_rows(&mut rows).await?;
            }
            found.extend(rows);
        }
        Ok(Slice::truncated(found, limit))
    }

    /// Removes the legacy rows whose owner has a newer row of the same group. The reads of different rows are concurrent.
    async fn remove_older_rows(&self, rows: &mut Vec<GroupRow>) -> Result<(), TableError> {
        let mut reads = Vec::new();
        for row in rows.iter().filter(|row| row.author.is_none()) {
            reads.push(self.group_with_newer_row(row));
        }
        let older: Vec<_> = stream::iter(reads).buffer_unordered(CALLS_OF_REQUEST).try_collect().await?;
        rows.retain(|row| !older.contains(&Some(row.group)));
        Ok(())
    }

    /// Returns the group of a legacy row if the row's owner has a newer row of the group.
    async fn group_with_newer_row(&self, row: &GroupRow) -> Result<Option<MessageGroupUuid>, TableError> {
        let rows = Box::pin(self.indexed_rows(row.group)).await?;
        let is_newer = |other: &GroupRow| other.owner == row.owner && other.sort_key > row.sort_key;
        Ok(rows.iter().any(is_newer).then_some(row.group))
    }

    /// Returns the rows of all participants of a group from the index. Eventually consistent.
    pub async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        Pages::of_index(self, AttributeValue::S(group.to_string())).all(items::to_group_row).await
    }

    /// Returns `user`'s rows of `group`. Reads the user's whole partition with strong consistency, so the cost is proportional to
    /// the number of conversations; if it exceeds the maximum number of read units, the call fails. Callers must use it only after
    /// other reads have not found the rows.
    ///
    /// Reads the oldest rows first. A row that moves during the read gets a newer sort key, so the read still finds it.
    pub async fn own_rows_of_group(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
    ) -> Result<Vec<GroupRow>, TableError> {
        let all = SortKeyRange::all();
        let pages = Pages::of_partition(self, keys::groups_pk(user), &all, Direction::Ascending, None);
        let mut pages = pages.where_equal(MESSAGE_GROUP_UUID, AttributeValue::S(group.to_string()));
        let mut rows = Vec::new();
        while let Some(page) = pages.next(items::to_group_row).await? {
            rows.extend(page);
            if !pages.is_done() && self.legacy.is_used_up(pages.units()) {
                return Err(self.legacy.too_long(user));
            }
        }
        Ok(rows)
    }

    /// Returns `user`'s row of `group` with this sort key. `None` if there is no such row or if it is malformed.
    pub async fn row_at(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
        sort_key: &SortKey,
    ) -> Result<Option<GroupRow>, TableError> {
        let item = self.get(primary_key(keys::groups_pk(user), sort_key.as_str())).await?;
        let row = item.and_then(|item| well_formed(items::to_group_row(&item)));
        Ok(row.filter(|row| row.group == group))
    }

    /// Returns the membership of `group`. `None` if the group does not exist or is a legacy group that was not adopted.
    pub async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        let item = self.get(primary_key(keys::membership_pk(group), keys::MEMBERSHIP_SK)).await?;
        Ok(item.map(|item| items::to_membership(group, &item)).transpose()?)
    }

    /// Returns the message with this primary key.
    pub async fn message_at(&self, pk: &str, sk: &str) -> Result<Option<Message>, TableError> {
        let item = self.get(primary_key(pk.to_owned(), sk)).await?;
        Ok(item.map(|item| items::to_message(&item)).transpose()?)
    }

    /// Returns the group that two participants share, from the pair item.
    pub async fn group_of_pair(&self, participants: &[Participant; 2]) -> Result<Option<MessageGroupUuid>, TableError> {
        let [one, other] = participants;
        self.group_of_users(one.uuid, other.uuid).await
    }

    /// Returns the group that two users share, from the pair item. The order of the users does not matter.
    pub async fn group_of_users(&self, one: UserUuid, other: UserUuid) -> Result<Option<MessageGroupUuid>, TableError> {
        let item = self.get(primary_key(keys::pair_pk(one, other), keys::PAIR_SK)).await?;
        Ok(item.map(|item| items::to_pair(&item)).transpose()?)
    }

    /// Returns the first request of `author` with the idempotency key `key`.
    pub async fn first_request(
        &self,
        author: UserUuid,
        key: IdempotencyKey,
    ) -> Result<Option<FirstRequest>, TableError> {
        let item = self.get(primary_key(keys::idempotency_key_pk(author, key), keys::IDEMPOTENCY_KEY_SK)).await?;
        Ok(item.map(|item| items::to_first_request(author, key, &item)).transpose()?)
    }

    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, TableError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true).set_key(Some(key));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let _permit = self.permit().await;
        // Boxed for the reason given in `response_reader::send`.
        let response = Box::pin(request.send()).await.map_err(|error| classify("GetItem", error))?;
        self.count("GetItem", response.consumed_capacity());
        Ok(response.item)
    }

    /// Scans a page of the table: at most `limit` items (default and maximum 100) with all attributes. Eventually consistent.
    /// Also returns the position of the next page, or `None` after the last page.
    pub async fn scan_items(
        &self,
        from: Option<ScanPosition>,
        limit: Option<i32>,
    ) -> Result<(Vec<Item>, Option<ScanPosition>), TableError> {
        let request = self.client.scan().table_name(&self.name).limit(limit.unwrap_or(SCAN_PAGE).clamp(1, SCAN_PAGE));
        self.scan(request, from).await
    }

    async fn scan(
        &self,
        request: ScanFluentBuilder,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<Item>, Option<ScanPosition>), TableError> {
        let request = request
            .set_exclusive_start_key(from.map(|position| position.0))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let page = request.send().await.map_err(|error| classify("Scan", error))?;
        self.count("Scan", page.consumed_capacity());
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key.map(ScanPosition)))
    }

    /// Whether the table has no items.
    pub async fn is_empty(&self) -> Result<bool, TableError> {
        let request = self.client.scan().table_name(&self.name).consistent_read(true).limit(1);
        Ok(self.scan(request, None).await?.0.is_empty())
    }

    /// Scans a page of the index and returns the groups of its rows. A group with several rows is returned several times.
    pub async fn scan_groups(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        let (rows, next) = self.scan_rows(from).await?;
        Ok((rows.into_iter().filter_map(well_formed).map(|row| row.group).collect(), next))
    }

    /// Scans a page of the index, and returns an error in place of each malformed row. Also returns the position of the next
    /// page, or `None` after the last page.
    pub async fn scan_rows(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<Result<GroupRow, ItemError>>, Option<ScanPosition>), TableError> {
        let request = self.client.scan().table_name(&self.name).index_name(GROUP_INDEX).limit(SCAN_PAGE);
        let (items, next) = self.scan(request, from).await?;
        Ok((items.iter().map(|item| items::to_group_row(item)).collect(), next))
    }

    /// Checks that the table is reachable. Reads a key that no item has.
    pub async fn ping(&self) -> Result<(), TableError> {
        let key = primary_key("PING".to_owned(), "PING");
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key));
        request.send().await.map(drop).map_err(|error| classify("GetItem", error))
    }
}
