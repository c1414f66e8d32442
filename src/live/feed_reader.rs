//! Reads a feed for one subscription. The reader first returns the events that the client has missed, then one
//! [`FeedItem::Ready`], and then each new event.
//!
//! The reader has a position and no queue: it reads the next page only after the client has accepted all events of the
//! current page.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use super::Live;
use super::hub::Signals;
use crate::backoff::Backoff;
use crate::messaging::{FeedCursor, FeedEvent, FeedPage, Messaging, MessagingError};
use crate::model::User;
use crate::report;

/// First and maximum wait between attempts to read a page.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(10);

/// An item that a subscription of a feed delivers.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost all items are events")]
pub enum FeedItem {
    /// An event, and the cursor after it.
    Event(FeedCursor, FeedEvent),
    /// The client has received all events that it missed. The cursor is the end of the feed at that time.
    Ready(FeedCursor),
}

/// A subscription of a feed.
pub struct FeedReader {
    user: Arc<User>,
    live: Arc<Live>,
    signals: Signals,
    /// The events of the current page that the client has not accepted.
    events: vec::IntoIter<(FeedCursor, FeedEvent)>,
    /// The end of the current page.
    end: FeedCursor,
    /// Whether events follow the current page.
    has_next: bool,
    /// Whether the reader has returned [`FeedItem::Ready`].
    is_ready: bool,
}

impl FeedReader {
    /// Subscribes to the feed of `user` and reads the first page. The subscription starts after the cursor `after`, or at the
    /// end of the feed if there is none.
    ///
    /// # Errors
    /// The cursor is invalid, or the feed cannot be read.
    pub async fn start(
        messaging: &Messaging,
        live: &Arc<Live>,
        user: Arc<User>,
        after: Option<&str>,
    ) -> Result<Self, MessagingError> {
        // The subscription to the signals begins before the first read, so that no hint is lost.
        let signals = live.hub().signals(user.uuid);
        let _permit = live.hub().reads.acquire().await;
        let FeedPage { events, end, has_next } = messaging.feed_from(&user, after).await?;
        let events = events.into_iter();
        Ok(Self { user, live: live.clone(), signals, events, end, has_next, is_ready: false })
    }

    /// Waits for the next item. If a read fails, repeats it until it succeeds.
    ///
    /// If the returned future is dropped, no item is lost. But if it is dropped during a read of new events, the next call
    /// reads them only after a further signal.
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
