//! Reads message groups: the list of a user (access pattern B), and one group by its uuid.

use std::mem;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::cursor::GroupCursor;
use super::error::MessagingError;
use super::limits::DEFAULT_GROUPS_PAGE;
use super::membership::{Member, ReadAccess};
use super::page::{Page, PageRequest, PageSize};
use super::service::Messaging;
use crate::messages_table::{CALLS_OF_REQUEST, GroupRow, Message, Reading};
use crate::model::{MessageGroupUuid, MessageUuid, Participant, User};

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
    /// What the viewer has received and read. `None` if it was not loaded: see [`Messaging::reading`].
    pub reading: Option<Reading>,
    /// The viewer's access to the messages.
    pub access: ReadAccess,
}

impl GroupView {
    /// Returns the view of an author who has just written `last_message`, and has therefore read all messages before it.
    #[must_use]
    pub fn read_by_author(self) -> Self {
        let reading = Reading { marker: Some(self.last_message.sort_key.clone()), ..Reading::default() };
        Self { reading: Some(reading), ..self }
    }
}

impl Messaging {
    /// Returns a page of `user`'s message groups, each with its cursor. The group with the newest message comes first. The list
    /// can be read only from its start, so callers must set only `first` and `after` of `request`.
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
        stream::iter(reads).buffer_unordered(CALLS_OF_REQUEST).try_collect::<()>().await?;
        let items = views.into_iter().filter_map(|(message, row)| {
            let (reading, last_message) = (Some(row.reading.clone().unwrap_or_default()), message?);
            let (access, viewer) = (ReadAccess::of_own_row(&row), viewer.clone());
            let view = GroupView { uuid: row.group, viewer, other: row.other, last_message, reading, access };
            Some((GroupCursor(row.sort_key), view))
        });
        Ok(Page { items: items.collect(), has_next, has_previous })
    }

    /// Returns the group of `member`, or `None` if the group has no messages and the user has no row of it.
    pub async fn message_group(&self, member: &Member) -> Result<Option<GroupView>, MessagingError> {
        let uuid = member.group();
        if let Some(newest) = self.table.newest_message(uuid).await? {
            return Ok(Some(view(member, newest)));
        }
        // The group has no messages, so the newest message is built from the user's own row.
        let row = self.table.legacy_row(member.user.uuid, uuid).await?;
        Ok(row.map(|row| view(member, message_from_legacy_row(&row))))
    }

    /// Returns the newest message of the group of `row`. `owner` owns the row. Reads the message from the table only for a
    /// legacy row.
    pub(super) async fn last_message(&self, mut row: GroupRow, owner: &Participant) -> Result<Message, MessagingError> {
        let mut message = message_of_row(&mut row, owner);
        if message.is_none() {
            self.complete(&mut message, &row).await?;
        }
        Ok(message.unwrap_or_else(|| message_from_legacy_row(&row)))
    }

    /// Reads the newest message of the group of a legacy row. Such a row does not contain the author, and its sort key can
    /// differ from those of all messages.
    async fn complete(&self, message: &mut Option<Message>, row: &GroupRow) -> Result<(), MessagingError> {
        let newest = self.table.newest_message(row.group).await?;
        *message = Some(newest.unwrap_or_else(|| message_from_legacy_row(row)));
        Ok(())
    }
}

/// Returns the group from the view of `member`, without what the member has read.
pub(super) fn view(member: &Member, last_message: Message) -> GroupView {
    GroupView {
        uuid: member.group(),
        viewer: Participant::from(&*member.user),
        other: member.other().clone(),
        last_message,
        reading: None,
        access: member.access(),
    }
}

/// Builds the newest message from a row, and moves the text out of the row. Returns `None` for a legacy row, which lacks the
/// author.
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
