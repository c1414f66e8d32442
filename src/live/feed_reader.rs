//! The position of a subscription in a feed. A subscription starts with what its client has missed, then gets a
//! [`FeedItem::Ready`], and then each new event.
//!
//! It keeps a position, not a queue: it reads the next page only when its client has accepted the events of the last one.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use super::Live;
use super::hub::Signals;
use crate::backoff::Backoff;
use crate::messaging::{FeedCursor, FeedEvent, FeedPage, Messaging, MessagingError};
use crate::model::User;
use crate::report;

/// The waits between attempts to read a page.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What a subscription of a feed delivers.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost all items are events")]
pub enum FeedItem {
    /// An event, and the cursor after it.
    Event(FeedCursor, FeedEvent),
    /// The client has received everything that it missed.
    Ready(FeedCursor),
}

/// A subscription of a feed.
pub struct FeedReader {
    user: Arc<User>,
    live: Arc<Live>,
    signals: Signals,
    /// The events of the page that the client has not accepted.
    events: vec::IntoIter<(FeedCursor, FeedEvent)>,
    end: FeedCursor,
    has_next: bool,
    is_ready: bool,
}

impl FeedReader {
    /// Subscribes to the feed of `user` after the cursor `after`; without a cursor, from now on. Reads the first page.
    ///
    /// # Errors
    /// The cursor is invalid, or the feed cannot be read.
    pub async fn start(
        messaging: &Messaging,
        live: &Arc<Live>,
        user: Arc<User>,
        after: Option<&str>,
    ) -> Result<Self, MessagingError> {
        // Before the first read, so that no hint is lost.
        let signals = live.hub().signals(user.uuid);
        let _permit = live.hub().reads.acquire().await;
        let FeedPage { events, end, has_next } = messaging.feed_from(&user, after).await?;
        let events = events.into_iter();
        Ok(Self { user, live: live.clone(), signals, events, end, has_next, is_ready: false })
    }

    /// Waits for the next item. If the feed cannot be read, tries again until it can.
    pub async fn next(&mut self, messaging: &Messaging) -> FeedItem {
        loop {
            if let Some((cursor, event)) = self.events.next() {
                return FeedItem::Event(cursor, event);
            }
            if !self.has_next {
                if !self.is_ready {
                    self.is_ready = true;
                    return FeedItem::Ready(self.end.clone());
                }
                self.signals.moved(self.end.position()).await;
            }
            // Boxed, so that a subscription that waits for a signal takes little memory.
            Box::pin(self.read(messaging)).await;
        }
    }

    async fn read(&mut self, messaging: &Messaging) {
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        loop {
            let read = {
                let _permit = self.live.hub().reads.acquire().await;
                messaging.for_query().feed_after(&self.user, self.end.clone()).await
            };
            match read {
                Ok(FeedPage { events, end, has_next }) => {
                    self.events = events.into_iter();
                    (self.end, self.has_next) = (end, has_next);
                    return;
                }
                Err(error) => tracing::warn!(error = report(&error), "reading a subscribed feed failed, retrying"),
            }
            tokio::time::sleep(backoff.next(messaging.environment())).await;
        }
    }
}
