//! Reading message groups: access pattern B, and one group by its uuid.

use std::mem;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::cursor::GroupCursor;
use super::error::MessagingError;
use super::limits::DEFAULT_GROUPS_PAGE;
use super::membership::Member;
use super::page::{Page, PageRequest, PageSize};
use super::service::Messaging;
use crate::messages_table::{GroupRow, Message};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User};

/// Maximum number of concurrent reads that complete legacy rows of one page.
const CONCURRENT_READS: usize = 16;

/// A message group from the view of one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Unique identifier of the group.
    pub uuid: MessageGroupUuid,
    /// Participant who reads the group.
    pub viewer: Participant,
    /// The other participant.
    pub other: Participant,
    /// The newest message.
    pub last_message: Message,
}

impl Messaging {
    /// Returns a page of `user`'s message groups, last reply first, each with its cursor. The list can be read only from its
    /// start, so callers set only `first` and `after` of `request`.
    pub async fn message_groups(
        &self,
        user: &Arc<User>,
        request: PageRequest,
    ) -> Result<Page<(GroupCursor, GroupView)>, MessagingError> {
        let size = request.size(PageSize::First(DEFAULT_GROUPS_PAGE))?;
        let limit = size.limit();
        let after = request.after.as_deref().map(|text| GroupCursor::decode("after", text)).transpose()?;
        let slice = self.table.message_groups(user.uuid, after.as_ref().map(|after| &after.0), limit).await?;
        let page = Page::of(slice, size, after.is_some(), false);
        let Page { items, has_next, has_previous } = page;
        let viewer = Participant::from(&**user);
        let mut views: Vec<_> = items.into_iter().map(|mut row| (message_of_row(&mut row, &viewer), row)).collect();
        let mut reads = Vec::new();
        for (message, row) in &mut views {
            if message.is_none() {
                reads.push(self.complete(message, row));
            }
        }
        stream::iter(reads).buffer_unordered(CONCURRENT_READS).try_collect::<()>().await?;
        let items = views.into_iter().filter_map(|(message, row)| {
            let view = GroupView { uuid: row.group, viewer: viewer.clone(), other: row.other, last_message: message? };
            Some((GroupCursor(row.sort_key), view))
        });
        Ok(Page { items: items.collect(), has_next, has_previous })
    }

    /// Returns the group `uuid`, or `None` when it does not exist or the user is not a participant.
    pub async fn message_group(
        &self,
        user: &Arc<User>,
        uuid: MessageGroupUuid,
    ) -> Result<Option<GroupView>, MessagingError> {
        let member = match self.member(user, uuid).await {
            Err(MessagingError::NoSuchGroup) => return Ok(None),
            member => member?,
        };
        if let Some(newest) = self.table.newest_message(uuid).await? {
            return Ok(Some(view(&member, newest)));
        }
        // The group has no messages. The user's own row is shown instead.
        let rows = self.table.own_rows_of_group(user.uuid, uuid).await?;
        let newest = rows.into_iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key));
        Ok(newest.map(|row| view(&member, message_from_legacy_row(&row))))
    }

    /// Reads the newest message of a legacy row. Such a row does not contain the author, and its sort key need not be the one
    /// of any message.
    async fn complete(&self, message: &mut Option<Message>, row: &GroupRow) -> Result<(), MessagingError> {
        let newest = self.table.newest_message(row.group).await?;
        *message = Some(newest.unwrap_or_else(|| message_from_legacy_row(row)));
        Ok(())
    }
}

/// The group from the view of `member`.
pub(super) fn view(member: &Member, last_message: Message) -> GroupView {
    GroupView {
        uuid: member.group(),
        viewer: Participant::from(&*member.user),
        other: member.other().clone(),
        last_message,
    }
}

/// Builds the newest message from a row and takes the row's text. Returns `None` for a legacy row, which lacks the author.
fn message_of_row(row: &mut GroupRow, owner: &Participant) -> Option<Message> {
    let author = row.author?;
    let author = [owner, &row.other].into_iter().find(|participant| participant.uuid == author)?.clone();
    let (uuid, created_at) = (row.sort_key.message_uuid()?, row.sort_key.created_at()?);
    let (body, sort_key) = (mem::take(&mut row.body), row.sort_key.clone());
    Some(Message { uuid, group: row.group, author, body, created_at, sort_key })
}

/// Builds a message from a legacy row whose group has no messages. The author is the other participant. The uuid is derived
/// from the row, so it is the same in every response.
fn message_from_legacy_row(row: &GroupRow) -> Message {
    Message {
        uuid: MessageUuid(Uuid::new_v5(&row.group.0, row.sort_key.as_str().as_bytes())),
        group: row.group,
        author: row.other.clone(),
        body: row.body.clone(),
        created_at: row.sort_key.created_at().unwrap_or_default(),
        sort_key: row.sort_key.clone(),
    }
}
