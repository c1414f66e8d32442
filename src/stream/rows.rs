//! The reads and writes of the messages table that the consumer needs. Implemented with DynamoDB, and by the simulator of the
//! tests, whose index lags, which loses responses, and in which transactions conflict.

use std::future::Future;

use crate::messages_table::feed::{FeedEntry, FeedHead};
use crate::messages_table::{
    Applied, GroupRow, GroupUpdate, Membership, Message, MessagesTable, ScanPosition, SortKey, TableError,
};
use crate::model::{MessageGroupUuid, UserUuid};

/// The rows, messages and memberships of message groups, and the feeds.
pub trait GroupRows: Send + Sync + 'static {
    /// Returns the rows of all participants of a group from the index, which may lag.
    fn indexed_rows(&self, group: MessageGroupUuid) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// Reads the rows of one user for a group with strong consistency. Reads the user's whole list.
    fn own_rows(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// Reads the row of one user for a group with this sort key, with strong consistency.
    fn row_at(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
        sort_key: &SortKey,
    ) -> impl Future<Output = Result<Option<GroupRow>, TableError>> + Send;
    /// Returns the sort keys of the newest messages of a group, newest first.
    fn recent_sort_keys(
        &self,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Vec<SortKey>, TableError>> + Send;
    /// Whether every legacy group has a membership item.
    fn legacy_is_adopted(&self) -> impl Future<Output = Result<bool, TableError>> + Send;
    /// Returns the membership of a group, or `None` if it has no membership item.
    fn membership(
        &self,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Option<Membership>, TableError>> + Send;
    /// Returns the newest message of a group. With `author`, returns the newest message of this author among the newest messages
    /// of the group.
    fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> impl Future<Output = Result<Option<Message>, TableError>> + Send;
    /// Writes the membership and pair items of a legacy group.
    fn adopt_legacy_group(&self, membership: &Membership) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Returns one page of the groups that have a row, and the position of the next page. A group can be in several pages.
    fn groups(
        &self,
        from: Option<ScanPosition>,
    ) -> impl Future<Output = Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError>> + Send;
    /// Counts the messages of one author with sort keys greater than `after` and at most `up_to`.
    fn count_messages(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
        after: Option<&SortKey>,
        up_to: &SortKey,
    ) -> impl Future<Output = Result<u64, TableError>> + Send;
    /// Reads the last entry of a feed with strong consistency. `None` if the feed is empty.
    fn feed_head(&self, owner: UserUuid) -> impl Future<Output = Result<Option<FeedHead>, TableError>> + Send;
    /// Writes rows and appends feed entries in one transaction.
    fn apply(
        &self,
        updates: &[GroupUpdate],
        entries: &[FeedEntry],
    ) -> impl Future<Output = Result<Applied, TableError>> + Send;
}

impl GroupRows for MessagesTable {
    async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        Self::indexed_rows(self, group).await
    }

    async fn own_rows(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        self.own_rows_of_group(user, group).await
    }

    async fn row_at(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
        sort_key: &SortKey,
    ) -> Result<Option<GroupRow>, TableError> {
        Self::row_at(self, user, group, sort_key).await
    }

    async fn recent_sort_keys(&self, group: MessageGroupUuid) -> Result<Vec<SortKey>, TableError> {
        Self::recent_sort_keys(self, group).await
    }

    async fn legacy_is_adopted(&self) -> Result<bool, TableError> {
        Self::legacy_is_adopted(self).await
    }

    async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        Self::membership(self, group).await
    }

    async fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> Result<Option<Message>, TableError> {
        match author {
            Some(author) => self.recent_message_by(group, author).await,
            None => Self::newest_message(self, group).await,
        }
    }

    async fn groups(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        self.scan_groups(from).await
    }

    async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        Self::adopt_legacy_group(self, membership).await
    }

    async fn count_messages(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
        after: Option<&SortKey>,
        up_to: &SortKey,
    ) -> Result<u64, TableError> {
        Self::count_messages(self, group, author, after, up_to).await
    }

    async fn feed_head(&self, owner: UserUuid) -> Result<Option<FeedHead>, TableError> {
        Self::feed_head(self, owner).await
    }

    async fn apply(&self, updates: &[GroupUpdate], entries: &[FeedEntry]) -> Result<Applied, TableError> {
        Self::apply(self, updates, entries).await
    }
}
