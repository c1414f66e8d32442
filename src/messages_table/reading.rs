//! Counts what one participant has received and read in a group.
//!
//! The number of unread messages is the number of received messages minus the number of read messages. The consumer
//! increments the first number, and a write of the read marker sets the second. So a write of the marker never has to
//! wait for the consumer.

use super::keys::SortKey;

/// What the owner of a row has received and read of the other participant's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Number of messages of the other participant that the consumer has fed.
    pub received: u64,
    /// Number of these messages that are read.
    pub read: u64,
    /// The read marker: messages up to this sort key are read. `None` if no message is marked as read.
    pub marker: Option<SortKey>,
    /// If the marker was set to an older message, the unread messages between the marker and this sort key were counted in
    /// the table. A message that was stored but not fed at that time was counted too, so the consumer counts again when it
    /// feeds a message in this range.
    pub counted_to: Option<SortKey>,
}

impl Reading {
    /// Returns the reading of a participant in a new group whose first message has the sort key `first`. The author has
    /// read this message. The other participant receives it when it is fed.
    pub fn of_new_group(is_author: bool, first: &SortKey) -> Self {
        Self { marker: is_author.then(|| first.clone()), ..Self::default() }
    }

    /// Number of unread messages of the other participant.
    pub fn unread(&self) -> u64 {
        self.received.saturating_sub(self.read)
    }

    /// Whether the messages up to `key` are read.
    pub fn is_read(&self, key: &SortKey) -> bool {
        self.marker.as_ref().is_some_and(|marker| key <= marker)
    }

    /// Counts a message of the other participant with the sort key `key`, which the consumer feeds.
    pub fn receive(&mut self, key: &SortKey) {
        self.received += 1;
        self.read += u64::from(self.is_read(key));
    }

    /// Marks all messages that were fed before as read, because the consumer feeds a message with the sort key `key` that the
    /// owner has written. `newest` is the newest sort key of the group so far.
    pub fn write(&mut self, key: &SortKey, newest: &SortKey) {
        self.read = self.received;
        self.marker = self.marker.take().max(Some(newest.clone())).max(Some(key.clone()));
        self.counted_to = None;
    }

    /// Whether a count of unread messages may have included the message with the sort key `key` before it was fed.
    pub fn may_have_counted(&self, key: &SortKey) -> bool {
        !self.is_read(key) && self.counted_to.as_ref().is_some_and(|counted_to| key <= counted_to)
    }

    /// Marks all messages up to `newest`, the newest sort key of the group, as read.
    pub fn mark_all(&mut self, newest: SortKey) {
        (self.read, self.marker, self.counted_to) = (self.received, Some(newest), None);
    }

    /// Marks the messages up to `marker` as read if other messages follow. The caller must count the messages that follow and
    /// pass their number to [`count`](Self::count).
    pub fn mark(&mut self, marker: SortKey) {
        self.marker = Some(marker);
    }

    /// Sets the number of unread messages: the table has `unread` messages of the other participant after the marker,
    /// up to `counted_to`.
    pub fn count(&mut self, unread: u64, counted_to: SortKey) {
        // The count may include messages that are not received yet.
        self.received = self.received.max(unread);
        self.read = self.received - unread;
        self.counted_to = Some(counted_to);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::MessageUuid;

    fn key(second: u32) -> SortKey {
        let at = format!("2026-11-22T10:42:{second:02}.000000Z");
        SortKey::of_message(at.parse().expect("a time"), MessageUuid(Uuid::from_u128(second.into())))
    }

    #[test]
    fn marking_all_reads_what_was_received_and_what_is_received_later_up_to_the_marker() {
        let mut reading = Reading::default();
        reading.receive(&key(1));
        reading.receive(&key(2));
        // The message at 3 is stored, but not fed yet.
        reading.mark_all(key(3));
        assert_eq!(reading, Reading { received: 2, read: 2, marker: Some(key(3)), counted_to: None });
        reading.receive(&key(3));
        assert_eq!(reading.unread(), 0);
        reading.receive(&key(4));
        assert_eq!(reading.unread(), 1);
    }

    #[test]
    fn a_count_replaces_what_was_received_and_read() {
        let mut reading = Reading { received: 5, ..Reading::default() };
        reading.mark(key(2));
        reading.count(3, key(5));
        assert_eq!(reading, Reading { received: 5, read: 2, marker: Some(key(2)), counted_to: Some(key(5)) });
        // The count includes messages that are not fed yet.
        reading.count(7, key(9));
        assert_eq!((reading.received, reading.unread()), (7, 7));
        assert!(reading.may_have_counted(&key(9)) && !reading.may_have_counted(&key(10)));
        assert!(!reading.may_have_counted(&key(2)), "it is read");
    }
}
