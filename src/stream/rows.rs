//! What the effect needs of the messages table: a seam, so that a simulation can serve an index that lags, answers that
//! get lost, and transactions that conflict.

use std::future::Future;

use crate::messages_table::{
    Direction, GroupRow, Membership, Message, MessagesTable, MoveOutcome, RowMove, ScanPosition, SortKeyRange,
    TableError,
};
use crate::model::{MessageGroupUuid, UserUuid};

/// The rows of message groups and what is known about them.
pub trait GroupRows: Send + Sync + 'static {
    /// All participants' rows of a group as the index has them, which may lag.
    fn indexed_rows(&self, group: MessageGroupUuid) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// A user's rows of a group as the table has them.
    fn own_rows(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
    ) -> impl Future<Output = Result<Vec<GroupRow>, TableError>> + Send;
    /// Who takes part in a group.
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
    /// Writes down who takes part in a group of the earlier system.
    fn write_down(&self, membership: &Membership) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Groups that have a row, a page at a time; a group may come more than once.
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

    async fn write_down(&self, membership: &Membership) -> Result<(), TableError> {
        self.adopt_legacy_group(membership).await
    }

    async fn move_rows(&self, rows: &RowMove) -> Result<MoveOutcome, TableError> {
        Self::move_rows(self, rows).await
    }
}
