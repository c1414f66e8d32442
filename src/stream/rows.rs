//! What a move needs of the messages table. It is a seam: the simulator of the tests serves an index that lags, loses
//! responses and lets transactions conflict.

use std::future::Future;

use crate::messages_table::{
    Direction, GroupRow, Membership, Message, MessagesTable, MoveOutcome, RowMove, ScanPosition, SortKeyRange,
    TableError,
};
use crate::model::{MessageGroupUuid, UserUuid};

/// The rows of message groups and what is known about them.
pub trait GroupRows: Send + Sync + 'static {
    /// The rows of all participants of a group in the index, which may lag.
    fn indexed_rows(&self, group: MessageGroupUuid) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// The rows of one user for a group, strongly consistent.
    fn own_rows(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// The participants of a group.
    fn membership(
        &self,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Option<Membership>, TableError>> + Send;
    /// The newest message of a group, or of one author in it.
    fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> impl Future<Output = Result<Option<Message>, TableError>> + Send;
    /// Writes the membership and pair items of a legacy group.
    fn adopt_legacy_group(&self, membership: &Membership) -> impl Future<Output = Result<(), TableError>> + Send;
    /// One page of the groups that have a row. A group can be in several pages.
    fn groups(
        &self,
        from: Option<ScanPosition>,
    ) -> impl Future<Output = Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError>> + Send;
    /// Moves rows, all or none.
    fn move_rows(&self, rows: &RowMove) -> impl Future<Output = Result<MoveOutcome, TableError>> + Send;
}

impl GroupRows for MessagesTable {
    async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        Self::indexed_rows(self, group).await
    }

    async fn own_rows(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        self.own_rows_of_group(user, group).await
    }

    async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        Self::membership(self, group).await
    }

    async fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> Result<Option<Message>, TableError> {
        let Some(author) = author else { return Self::newest_message(self, group).await };
        let theirs = |message: &Message| message.author.uuid == author;
        let written = self.messages(group, &SortKeyRange::all(), Direction::Descending, 1, theirs).await?;
        Ok(written.items.into_iter().next())
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

    async fn move_rows(&self, rows: &RowMove) -> Result<MoveOutcome, TableError> {
        Self::move_rows(self, rows).await
    }
}
