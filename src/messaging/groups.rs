//! Reading message groups: pattern B, and one group by its uuid.

use std::mem;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::cursor::GroupCursor;
use super::limits::DEFAULT_GROUPS_PAGE;
use super::page::Size;
use super::{Member, Messaging, MessagingError, Page, PageRequest};
use crate::messages_table::{GroupRow, Message};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User};

/// How many legacy rows are completed at once.
const CONCURRENT_READS: usize = 16;

/// A message group as one of its participants sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub uuid: MessageGroupUuid,
    /// Who looks at it.
    pub viewer: Participant,
    /// The other participant.
    pub other: Participant,
    /// The newest message.
    pub last_message: Message,
}

impl Messaging {
    /// A page of `user`'s message groups, last reply first, each with its cursor. It is read from the top only: of
    /// `request`, `first` and `after` count.
    pub async fn message_groups(
        &self,
        user: &Arc<User>,
        request: PageRequest,
    ) -> Result<Page<(GroupCursor, GroupView)>, MessagingError> {
        let size = request.size(Size::First(DEFAULT_GROUPS_PAGE))?;
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

    /// The group of `uuid`, or `None` when there is none that the user takes part in.
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
        // Without a single message left, the user's own row is all there is to show.
        let rows = self.table.own_rows_of_group(user.uuid, uuid).await?;
        let newest = rows.into_iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key));
        Ok(newest.map(|row| view(&member, stand_in(&row))))
    }

    /// Reads the newest message: a row of the legacy system does not say who wrote it, and its time need not be that of
    /// any message.
    async fn complete(&self, message: &mut Option<Message>, row: &GroupRow) -> Result<(), MessagingError> {
        let newest = self.table.newest_message(row.group).await?;
        *message = Some(newest.unwrap_or_else(|| stand_in(row)));
        Ok(())
    }
}

/// The group as `member` sees it, `last_message` being its newest.
pub(super) fn view(member: &Member, last_message: Message) -> GroupView {
    GroupView {
        uuid: member.group(),
        viewer: Participant::from(&*member.user),
        other: member.other().clone(),
        last_message,
    }
}

/// The message that a row repeats, which takes the row's text; `None` for a row of the legacy system, which does not say
/// enough.
fn message_of_row(row: &mut GroupRow, owner: &Participant) -> Option<Message> {
    let author = row.author?;
    let author = [owner, &row.other].into_iter().find(|participant| participant.uuid == author)?.clone();
    let (uuid, created_at) = (row.sort_key.message_uuid()?, row.sort_key.created_at()?);
    let (body, sort_key) = (mem::take(&mut row.body), row.sort_key.clone());
    Some(Message { uuid, group: row.group, author, body, created_at, sort_key })
}

/// The message of a row whose group has none: the text and time of the row, by the other participant, under a uuid that
/// is the same at every look.
fn stand_in(row: &GroupRow) -> Message {
    Message {
        uuid: MessageUuid(Uuid::new_v5(&row.group.0, row.sort_key.as_str().as_bytes())),
        group: row.group,
        author: row.other.clone(),
        body: row.body.clone(),
        created_at: row.sort_key.created_at().unwrap_or_default(),
        sort_key: row.sort_key.clone(),
    }
}
