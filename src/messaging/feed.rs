//! Reads a user's feed. The feed contains each message of the user's groups once, in the order in which the stream
//! delivered the messages.
//!
//! A page continues exactly after its cursor. If events are missing, it contains a reset, which says so: one that the
//! consumer has stored in the feed, or one that the server adds at the end of the page. Usually one Query reads a page. A
//! further Query reads the head of the feed (its last entry) if the server adds a reset, and once for every [`CHECK_EVERY`]
//! events while the reader catches up.

use std::sync::Arc;
use std::time::Duration;

use super::error::{BadInput, MessagingError};
use super::feed_cursor::{EntryName, FeedCursor, Pace, Through};
use super::groups::GroupView;
use super::limits::{DEFAULT_FEED_PAGE, MAX_EVENTS_BEHIND, MAX_PAGE, SUBSCRIPTION_PAGE};
use super::membership::ReadAccess;
use super::service::Messaging;
use crate::messages_table::Message;
use crate::messages_table::feed::{FedMessage, FedMessages, FeedContent, FeedEntry, FeedHead};
use crate::metrics;
use crate::model::{Participant, User, UserUuid};

/// Number of events after which the server checks again whether a reader is too far behind.
const CHECK_EVERY: u64 = 1_000;
/// A cursor expires this long before the entries after it. If half of the retention is shorter, it expires that long
/// before them. DynamoDB deletes expired entries at any time and in any order, and the clocks of processes differ.
const MARGIN: Duration = Duration::from_secs(24 * 3600);

/// A page of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// The events, each with its cursor.
    pub events: Vec<(FeedCursor, FeedEvent)>,
    /// The cursor after which the next page starts.
    pub end: FeedCursor,
    /// Whether more events follow.
    pub has_next: bool,
}

/// An event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost all events have the largest variant")]
pub enum FeedEvent {
    /// A message was stored.
    MessageAdded {
        /// The message.
        message: Message,
        /// The group when the server added the event to the feed. Its last message can be newer than this message.
        group: GroupView,
    },
    /// Events are missing.
    Reset(FeedResetReason),
}

/// Reason why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedResetReason {
    /// The events have expired.
    Expired,
    /// The reader is more than [`MAX_EVENTS_BEHIND`] events behind.
    TooFarBehind,
    /// Records of the stream were lost, or the table was restored.
    HistoryChanged,
}

impl FeedResetReason {
    /// Returns the name of the reason in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::TooFarBehind => "TOO_FAR_BEHIND",
            Self::HistoryChanged => "HISTORY_CHANGED",
        }
    }
}

impl Messaging {
    /// Returns at most `first` events of `user`'s feed after the cursor `after`. Without `after`, the page starts at the
    /// oldest entry that the feed keeps.
    pub async fn feed(
        &self,
        user: &Arc<User>,
        first: Option<i32>,
        after: Option<&str>,
    ) -> Result<FeedPage, MessagingError> {
        let size = page_size(first)?;
        let after = after.map(|text| FeedCursor::decode("after", text, user.uuid)).transpose()?;
        self.feed_page(user, size, after).await
    }

    /// Returns the first page of a subscription of `user`'s feed: the page after the cursor `after`, or an empty page at the end
    /// of the feed if there is no cursor.
    pub async fn feed_from(&self, user: &Arc<User>, after: Option<&str>) -> Result<FeedPage, MessagingError> {
        if let Some(after) = after {
            let after = FeedCursor::decode("after", after, user.uuid)?;
            return self.feed_after(user, after).await;
        }
        let now = self.environment.now().timestamp_millis();
        let head = self.table.feed_head(user.uuid).await?;
        Ok(FeedPage { events: Vec::new(), end: FeedCursor::at_end(user.uuid, head, now), has_next: false })
    }

    /// Returns the next page of a subscription.
    pub async fn feed_after(&self, user: &Arc<User>, after: FeedCursor) -> Result<FeedPage, MessagingError> {
        self.feed_page(user, SUBSCRIPTION_PAGE, Some(after)).await
    }

    /// Returns the position of the last entry of a feed, or 0 if the feed is empty.
    pub async fn feed_position(&self, user: UserUuid) -> Result<u64, MessagingError> {
        Ok(self.table.feed_head(user).await?.map_or(0, |head| head.position))
    }

    async fn feed_page(
        &self,
        user: &Arc<User>,
        size: usize,
        after: Option<FeedCursor>,
    ) -> Result<FeedPage, MessagingError> {
        // The time is read before the entries, because an entry that is written after the read must not be older than this
        // time.
        let now = self.environment.now().timestamp_millis();
        if after.as_ref().is_some_and(|after| is_expired(after.since, now, self.feed_retention)) {
            return self.reset(user, now, Vec::new(), FeedResetReason::Expired).await;
        }
        let (entries, more) = self.feed_entries(user, size, after.as_ref()).await?;
        let start = match start(after.as_ref(), &entries) {
            Ok(start) => start,
            Err(Stop::Reset(reason)) => return self.reset(user, now, Vec::new(), reason).await,
            Err(Stop::CursorInvalid) => return Err(BadInput::CursorInvalid("after").into()),
        };
        let Selected { events: selected, ends_at_gap, has_next } = select(&start, more, size);
        let mut check_from = after.as_ref().map_or(0, |after| after.pace.check_from);
        if has_next && start.events_before >= check_from {
            let head = self.table.feed_head(user.uuid).await?;
            let behind = head.as_ref().map_or(0, |head| head.events.saturating_sub(start.events_before));
            if behind > MAX_EVENTS_BEHIND {
                return Ok(reset_at(user, now, Vec::new(), FeedResetReason::TooFarBehind, head));
            }
            check_from = start.events_before.saturating_add(CHECK_EVERY);
        }
        let events = events(user, &selected);
        if ends_at_gap {
            return self.reset(user, now, events, FeedResetReason::Expired).await;
        }
        let last = events.last().map(|(cursor, _)| cursor.clone()).or(after);
        let end = last.unwrap_or_else(|| FeedCursor::at_end(user.uuid, None, now));
        let end = match has_next {
            true => FeedCursor { pace: Pace { check_from, events_per_entry: events_per_entry(&selected) }, ..end },
            false => FeedCursor { since: now, pace: Pace::default(), ..end },
        };
        Ok(FeedPage { events, end, has_next })
    }

    /// Reads the entry of a cursor, the entries of `size` events after it, and one more event, which shows whether more events
    /// follow. Also returns whether the feed has entries after those that were read.
    async fn feed_entries(
        &self,
        user: &User,
        size: usize,
        after: Option<&FeedCursor>,
    ) -> Result<(Vec<FeedEntry>, bool), MessagingError> {
        let mut position = after.and_then(|after| after.entry.as_ref()).map_or(1, |entry| entry.position);
        let mut entries: Vec<FeedEntry> = Vec::new();
        let mut limit = size / after.map_or(1, |after| after.pace.events_per_entry.max(1)) + 2;
        loop {
            let (page, more) = self.table.feed_entries(user.uuid, position, limit).await?;
            entries.extend(page);
            let events = entries.iter().skip(1).map(|entry| entry.content.events() as usize).sum();
            match (entries.last(), (size + 1).checked_sub(events)) {
                (Some(last), Some(missing)) if more && missing > 0 => (position, limit) = (last.position + 1, missing),
                _ => return Ok((entries, more)),
            }
        }
    }

    /// Returns a page of `events` and a reset. The reader continues at the end of the feed.
    async fn reset(
        &self,
        user: &User,
        now: i64,
        events: Vec<(FeedCursor, FeedEvent)>,
        reason: FeedResetReason,
    ) -> Result<FeedPage, MessagingError> {
        let head = self.table.feed_head(user.uuid).await?;
        Ok(reset_at(user, now, events, reason, head))
    }
}

fn reset_at(
    user: &User,
    now: i64,
    mut events: Vec<(FeedCursor, FeedEvent)>,
    reason: FeedResetReason,
    head: Option<FeedHead>,
) -> FeedPage {
    metrics::feed_reset(reason.as_str());
    let end = FeedCursor::at_end(user.uuid, head, now);
    events.push((end.clone(), FeedEvent::Reset(reason)));
    FeedPage { events, end, has_next: false }
}

/// Returns the number of events of a page. Unlike for other pages, zero is invalid, because an empty page has no new
/// cursor, so the reader would make no progress.
fn page_size(first: Option<i32>) -> Result<usize, BadInput> {
    let Some(size) = first else { return Ok(DEFAULT_FEED_PAGE) };
    let in_bounds = usize::try_from(size).ok().filter(|size| (1..=MAX_PAGE).contains(size));
    in_bounds.ok_or(BadInput::PageSizeOutOfBounds { argument: "first", minimum: 1, size })
}

/// Whether DynamoDB may have deleted entries after a cursor.
fn is_expired(since: i64, now: i64, retention: Option<Duration>) -> bool {
    retention.is_some_and(|retention| {
        let kept = retention - MARGIN.min(retention / 2);
        u128::try_from(now.saturating_sub(since)).is_ok_and(|age| age > kept.as_millis())
    })
}

/// The start of a page.
#[derive(Debug, PartialEq, Eq)]
struct Start<'a> {
    entries: &'a [FeedEntry],
    /// Number of events of the first entry that are before the page.
    skip: usize,
    /// Number of events of the feed that are before the page.
    events_before: u64,
}

/// Why a page cannot start at its cursor.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Reset(FeedResetReason),
    CursorInvalid,
}

/// Finds the start of a page in `entries`, which were read from the position of `after` on.
fn start<'a>(after: Option<&FeedCursor>, entries: &'a [FeedEntry]) -> Result<Start<'a>, Stop> {
    let at = |entries: &'a [FeedEntry], skip: usize| {
        let before_first = entries.first().map_or(0, |first| first.events.saturating_sub(first.content.events()));
        Start { entries, skip, events_before: before_first.saturating_add(skip as u64) }
    };
    let Some(after) = after else {
        // DynamoDB deletes expired entries in any order. The page starts after the last missing entry.
        let gap = entries.windows(2).rposition(|pair| !is_next(&pair[0], &pair[1]));
        return Ok(at(&entries[gap.map_or(0, |gap| gap + 1)..], 0));
    };
    match (&after.entry, entries.first()) {
        (None, None) => Ok(at(entries, 0)),
        (None, Some(first)) if first.position == 1 => Ok(at(entries, 0)),
        (Some(own), Some(first)) if first.position == own.position => {
            if first.id != own.id {
                return Err(Stop::Reset(FeedResetReason::HistoryChanged));
            }
            let events = usize::try_from(first.content.events()).unwrap_or(usize::MAX);
            match own.through {
                Through::End => Ok(at(entries, events)),
                Through::Events(through) if through <= events => Ok(at(entries, through)),
                Through::Events(_) => Err(Stop::CursorInvalid),
            }
        }
        _ => Err(Stop::Reset(FeedResetReason::Expired)),
    }
}

fn is_next(one: &FeedEntry, next: &FeedEntry) -> bool {
    one.position.checked_add(1) == Some(next.position)
}

/// The events of a page.
struct Selected<'a> {
    /// An entry, and the index of an event in it.
    events: Vec<(&'a FeedEntry, usize)>,
    /// Whether an entry is missing after the events. Only set if the page has room for a reset.
    ends_at_gap: bool,
    /// Whether more events follow the page.
    has_next: bool,
}

/// Selects at most `size` events. `more` says whether entries follow those that were read.
fn select<'a>(start: &Start<'a>, more: bool, size: usize) -> Selected<'a> {
    let gap = start.entries.windows(2).position(|pair| !is_next(&pair[0], &pair[1]));
    let entries = &start.entries[..gap.map_or(start.entries.len(), |gap| gap + 1)];
    let all = entries.iter().flat_map(|entry| (0..entry.content.events() as usize).map(move |index| (entry, index)));
    let mut events: Vec<_> = all.skip(start.skip).take(size + 1).collect();
    let is_full = events.len() > size || (events.len() == size && gap.is_some());
    events.truncate(size);
    Selected { events, ends_at_gap: gap.is_some() && !is_full, has_next: is_full || (more && gap.is_none()) }
}

fn events_per_entry(selected: &[(&FeedEntry, usize)]) -> usize {
    match (selected.first(), selected.last()) {
        (Some((first, _)), Some((last, _))) => {
            let entries = last.position.saturating_sub(first.position).saturating_add(1);
            usize::try_from(entries).map_or(0, |entries| selected.len() / entries)
        }
        _ => 0,
    }
}

/// Converts the selected events to the form that `user` receives.
fn events(user: &User, selected: &[(&FeedEntry, usize)]) -> Vec<(FeedCursor, FeedEvent)> {
    let viewer = Participant::from(user);
    let event = |&(entry, index): &(&FeedEntry, usize)| {
        let (position, id, through) = (entry.position, entry.id.clone(), Through::Events(index + 1));
        let name = Some(EntryName { position, id, through });
        let cursor = FeedCursor { owner: user.uuid, entry: name, since: entry.written_at, pace: Pace::default() };
        let event = match &entry.content {
            FeedContent::Reset(_) => FeedEvent::Reset(FeedResetReason::HistoryChanged),
            FeedContent::Messages(fed) => {
                // The index is valid, because `select` counts the messages of the entry.
                let added = &fed.messages[index];
                let group = group_after(fed, added, &viewer);
                FeedEvent::MessageAdded { message: message(fed, added, &viewer), group }
            }
        };
        (cursor, event)
    };
    selected.iter().map(event).collect()
}

fn message(fed: &FedMessages, message: &FedMessage, viewer: &Participant) -> Message {
    let FedMessage { sort_key, uuid, body, is_own } = message.clone();
    let author = if is_own { viewer } else { &fed.other };
    let created_at = sort_key.created_at().unwrap_or_default();
    Message { uuid, group: fed.group, author: author.clone(), body, created_at, sort_key }
}

/// Returns the group after all messages of an entry. `added` is one of these messages.
fn group_after(fed: &FedMessages, added: &FedMessage, viewer: &Participant) -> GroupView {
    let newest = fed.messages.iter().chain(&fed.newer).max_by(|a, b| a.sort_key.cmp(&b.sort_key)).unwrap_or(added);
    GroupView {
        uuid: fed.group,
        viewer: viewer.clone(),
        other: fed.other.clone(),
        last_message: message(fed, newest, viewer),
        reading: Some(fed.reading.clone()),
        access: ReadAccess::of_own_entry(fed),
    }
}

#[cfg(test)]
mod tests;
