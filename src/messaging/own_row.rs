//! Looks up a participant's own row of a group.
//!
//! The key of a row is the sort key of the group's newest message, and the consumer moves the row when a message
//! arrives. So a lookup first tries the probable key. If the row has moved, it reads the current key from the index.

use std::time::Duration;

use super::error::MessagingError;
use super::membership::Member;
use super::service::Messaging;
use crate::backoff::Backoff;
use crate::messages_table::{GroupRow, Reading, SortKey};
use crate::model::UserUuid;

/// Number of reads of the index before the whole list of the user is read.
const INDEX_READS: usize = 4;
/// First and maximum wait for the index, which usually lags by some milliseconds.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_millis(160);

impl Messaging {
    /// Reads the member's own row of the group with strong consistency. Returns `None` if the row does not exist.
    /// `likely` is the probable key of the row: the sort key of the newest message. If the row has this key, one `GetItem`
    /// finds it. Otherwise this function reads the key from the index and then the row, then the rows with the keys of the newest
    /// messages, and at last the whole list of the user.
    pub(super) async fn own_row(&self, member: &Member, likely: &SortKey) -> Result<Option<GroupRow>, MessagingError> {
        let (user, group) = (member.user.uuid, member.group());
        let row = self.table.row_at(user, group, likely).await?;
        // Some legacy lists contain two rows of one group, of which the newer one is valid, so the search continues.
        if row.as_ref().is_some_and(|row| !row.is_legacy()) {
            return Ok(row);
        }
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        for _ in 0..INDEX_READS {
            let indexed = self.table.indexed_rows(group).await?;
            if let Some(newest) = newest_row_of(indexed, user)
                && let Some(row) = self.table.row_at(user, group, &newest.sort_key).await?
            {
                return Ok(Some(row));
            }
            tokio::time::sleep(backoff.next(&*self.environment)).await;
        }
        // If the index lags, the row can have the key of a message that arrived after `likely` was read, or of an older one.
        for sort_key in self.table.recent_sort_keys(group).await? {
            let row = self.table.row_at(user, group, &sort_key).await?;
            if row.as_ref().is_some_and(|row| !row.is_legacy()) {
                return Ok(row);
            }
        }
        // A read of the whole list finds the row even if it moves during the read.
        let rows = self.table.own_rows_of_group(user, group).await?;
        Ok(newest_row_of(rows, user))
    }

    /// Returns what the member has received and read. `newest` is the sort key of the group's newest message.
    pub async fn reading(&self, member: &Member, newest: &SortKey) -> Result<Reading, MessagingError> {
        let row = self.own_row(member, newest).await?;
        Ok(row.and_then(|row| row.reading).unwrap_or_default())
    }

    /// Returns the sort key up to which the other participant has read the group. The read is eventually consistent.
    pub async fn other_marker(&self, member: &Member) -> Result<Option<SortKey>, MessagingError> {
        let row = newest_row_of(self.table.indexed_rows(member.group()).await?, member.other().uuid);
        Ok(row.and_then(|row| row.reading).and_then(|reading| reading.marker))
    }
}

fn newest_row_of(rows: Vec<GroupRow>, owner: UserUuid) -> Option<GroupRow> {
    rows.into_iter().filter(|row| row.owner == owner).max_by(|a, b| a.sort_key.cmp(&b.sort_key))
}
