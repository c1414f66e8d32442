//! Access patterns A and B, and the reads behind C, D and E.

use std::collections::HashSet;

use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::error::{TableError, classify};
use super::items::{self, Item};
use super::keys::{self, GROUP_INDEX, MESSAGE_GROUP_UUID};
use super::query::{Pages, readable};
use super::range::{Direction, SortKeyRange};
use super::records::{GroupRow, Membership, Message};
use super::{MessagesTable, SortKey};
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// A part of a longer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<T> {
    /// At most as many as were asked for, in the direction of the read.
    pub items: Vec<T>,
    /// Whether the list goes on behind the last of them.
    pub more: bool,
}

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanPosition(Item);

/// Rows read at once by a scan: some 25 KB, which the smallest table can bear.
const SCAN_PAGE: i32 = 100;

impl<T> Slice<T> {
    /// Cuts what was read, one more than asked for where there is one, to what was asked for.
    fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { items, more }
    }
}

impl MessagesTable {
    /// Pattern A: messages of a group in `range` for which `keep` holds, at most `limit`.
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
        Ok(Slice::cut(found, limit))
    }

    /// The newest message of a group.
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

    /// Pattern B: a user's message group rows, last reply first, below `after`, each group once.
    ///
    /// The legacy system left two rows of one group in some lists. The newer one counts: within this read the first
    /// seen, and on a later page one more look tells whether the newer one stood on an earlier page.
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
            for row in page {
                let fresh = range.contains(row.sort_key.as_str()) && seen.insert(row.group);
                if fresh && !(after.is_some() && self.has_newer_row(&row).await?) {
                    found.push(row);
                }
            }
        }
        Ok(Slice::cut(found, limit))
    }

    /// Whether the owner of a row of the legacy system has a newer one of the same group.
    async fn has_newer_row(&self, row: &GroupRow) -> Result<bool, TableError> {
        if row.author.is_some() {
            return Ok(false);
        }
        let rows = Box::pin(self.indexed_rows(row.group)).await?;
        Ok(rows.iter().any(|other| other.owner == row.owner && other.sort_key > row.sort_key))
    }

    /// All participants' rows of a group, from the index: eventually consistent.
    pub async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        Pages::of_index(self, AttributeValue::S(group.to_string())).all(items::to_group_row).await
    }

    /// `user`'s rows of `group`, from their own partition: strongly consistent, and it reads the whole partition.
    ///
    /// Oldest first, because rows move only upward: one that moves while the pages are read is still ahead.
    pub async fn own_rows_of_group(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
    ) -> Result<Vec<GroupRow>, TableError> {
        self.own_rows_where(user, MESSAGE_GROUP_UUID, group.to_string()).await
    }

    /// `user`'s rows of conversations with `other`, likewise.
    pub async fn own_rows_with(&self, user: UserUuid, other: UserUuid) -> Result<Vec<GroupRow>, TableError> {
        self.own_rows_where(user, items::USER_UUID, other.to_string()).await
    }

    async fn own_rows_where(
        &self,
        user: UserUuid,
        attribute: &str,
        value: String,
    ) -> Result<Vec<GroupRow>, TableError> {
        Pages::of_partition(self, keys::groups_pk(user), &SortKeyRange::all(), Direction::Ascending, None)
            .where_equal(attribute, AttributeValue::S(value))
            .all(items::to_group_row)
            .await
    }

    /// Who takes part in `group`; `None` for a group that does not exist or was never written to since the earlier
    /// system.
    pub async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        let item = self.get(items::key(keys::membership_pk(group), keys::MEMBERSHIP_SK)).await?;
        Ok(item.map(|item| items::to_membership(group, &item)).transpose()?)
    }

    /// The message with exactly these keys.
    pub async fn message_at(&self, pk: &str, sk: &str) -> Result<Option<Message>, TableError> {
        let item = self.get(items::key(pk.to_owned(), sk)).await?;
        Ok(item.map(|item| items::to_message(&item)).transpose()?)
    }

    /// The group that two users share.
    pub async fn group_of_pair(&self, participants: &[Participant; 2]) -> Result<Option<MessageGroupUuid>, TableError> {
        let [one, other] = participants;
        let item = self.get(items::key(keys::pair_pk(one.uuid, other.uuid), keys::PAIR_SK)).await?;
        Ok(item.map(|item| items::to_pair(&item)).transpose()?)
    }

    async fn get(&self, key: Item) -> Result<Option<Item>, TableError> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true).set_key(Some(key));
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        // On the heap, as every call of the SDK: see `Pages::next`.
        let answer = Box::pin(request.send()).await.map_err(|error| classify("GetItem", error))?;
        self.count("GetItem", answer.consumed_capacity());
        Ok(answer.item)
    }

    /// A page of the table, every attribute of every item: at most `limit` of them. Reads, and pays for, all it shows.
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

    /// Groups that have a row, a page of the index at a time; each comes as often as it has rows.
    pub async fn scan_groups(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        let request = self.client.scan().table_name(&self.name).index_name(GROUP_INDEX).limit(SCAN_PAGE);
        let (rows, next) = self.scan(request, from).await?;
        let groups = rows.iter().filter_map(|item| readable(items::to_group_row(item))).map(|row| row.group).collect();
        Ok((groups, next))
    }

    /// Whether the table answers: one read of a key that no item has.
    pub async fn ping(&self) -> Result<(), TableError> {
        let key = items::key("PING".to_owned(), "PING");
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key));
        request.send().await.map(drop).map_err(|error| classify("GetItem", error))
    }
}
