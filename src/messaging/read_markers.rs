//! Marks messages as read.
//!
//! The marker is in the user's own row, which the consumer also updates and moves when messages arrive. Both write the row on
//! the condition that it has not changed since they read it.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::MessageCursor;
use super::error::{BadInput, MessagingError};
use super::groups::{GroupView, view};
use super::membership::Member;
use super::service::Messaging;
use crate::backoff::Backoff;
use crate::messages_table::keys::messages_pk;
use crate::messages_table::{GroupRow, Reading, SortKey};
use crate::model::{MessageGroupUuid, User};

/// Maximum number of attempts to read and write the row. An attempt fails if the consumer writes the row in between.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(10);
const MAX_WAIT: Duration = Duration::from_millis(400);

impl Messaging {
    /// Marks the messages of `group` up to the cursor `up_to` as read, and returns the group. The marker never moves backward:
    /// if later messages are already marked as read, this function writes nothing.
    pub async fn mark_read(
        &self,
        user: &Arc<User>,
        group: MessageGroupUuid,
        up_to: &str,
    ) -> Result<GroupView, MessagingError> {
        let member = self.member(user, group).await?;
        let key = MessageCursor::decode("upTo", up_to, group)?.sort_key;
        let message = self.table.message_at(&messages_pk(group), key.as_str()).await?;
        let message = message.ok_or(BadInput::CursorInvalid("upTo"))?;
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(backoff.next(&*self.environment)).await;
            }
            let Some(mut row) = self.own_row(&member, &key).await? else {
                // The group is not in the user's list, so there is no marker to write, and nothing counts as unread.
                let newest = self.table.newest_message(group).await?.unwrap_or(message);
                return Ok(GroupView { reading: Some(Reading::default()), ..view(&member, newest) });
            };
            if let Some(after) = self.after_mark(&member, &row, &key).await? {
                if !self.table.put_reading(&row, after.clone()).await? {
                    continue;
                }
                row.reading = Some(after);
            }
            let reading = Some(row.reading.clone().unwrap_or_default());
            let last_message = match row.sort_key > key {
                true => self.last_message(row, &(&*member.user).into()).await?,
                false => message,
            };
            return Ok(GroupView { reading, ..view(&member, last_message) });
        }
        let source = format!("the row of the group changed after each of {MAX_ATTEMPTS} reads").into();
        Err(MessagingError::Unavailable { source, outcome_unknown: false })
    }

    /// Returns what the owner of `row` has read after the messages up to `key` are marked. Returns `None` if these or later
    /// messages are already marked as read.
    async fn after_mark(
        &self,
        member: &Member,
        row: &GroupRow,
        key: &SortKey,
    ) -> Result<Option<Reading>, MessagingError> {
        let Some(mut reading) = row.reading.clone() else {
            // An earlier version, which did not count unread messages, has written this row. All its messages count as read.
            return Ok(Some(Reading { marker: Some(key.clone()), ..Reading::default() }));
        };
        if reading.is_read(key) {
            return Ok(None);
        }
        if row.sort_key <= *key {
            reading.mark_all(key.clone());
        } else {
            reading.mark(key.clone());
            let (group, author) = (member.group(), member.other().uuid);
            let unread = self.table.count_messages(group, author, Some(key), &row.sort_key).await?;
            reading.count(unread, row.sort_key.clone());
        }
        Ok(Some(reading))
    }
}
