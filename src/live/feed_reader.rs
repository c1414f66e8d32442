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
    /// Whether the feed may have events after `end`.
    may_have_more: bool,
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
        Ok(Self { user, live: live.clone(), signals, events, end, may_have_more: has_next, is_ready: false })
    }

    /// Waits for the next item. If a read fails, repeats it until it succeeds. If the returned future is dropped, nothing is lost:
    /// the next call continues.
    pub async fn next(&mut self, messaging: &Messaging) -> FeedItem {
        loop {
            if let Some((cursor, event)) = self.events.next() {
                return FeedItem::Event(cursor, event);
            }
            if !self.may_have_more {
                if !self.is_ready {
                    self.is_ready = true;
                    return FeedItem::Ready(self.end.clone());
                }
                self.signals.moved(self.end.position()).await;
                // `moved` returns once for each signal. If the read below is dropped, the next call reads again.
                self.may_have_more = true;
            }
            // Boxed, so that a subscription that waits for a signal takes little memory.
            Box::pin(self.read(messaging)).await;
        }
    }

    async fn read(&mut self, messaging: &Messaging) {
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        loop {
            let (hub, for_query) = (self.live.hub().clone(), messaging.for_query());
            let (user, end) = (self.user.clone(), self.end.clone());
            let read = async move {
                let _permit = hub.reads.acquire().await;
                for_query.feed_after(&user, end).await.map(Arc::new).map_err(Arc::new)
            };
            let key = (self.end.place(), self.signals.last());
            match self.live.hub().share_read(key, read).await {
                Ok(page) => {
                    let FeedPage { events, end, has_next } = Arc::unwrap_or_clone(page);
                    self.events = events.into_iter();
                    (self.end, self.may_have_more) = (end, has_next);
                    return;
                }
                Err(error) => tracing::warn!(error = report(&error), "reading a subscribed feed failed, retrying"),
            }
            tokio::time::sleep(backoff.next(messaging.environment())).await;
        }
    }
}

#[cfg(feature = "embedded")]
#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::join;
    use sqlx::PgPool;
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::aws::Aws;
    use crate::embedded::dynamodb::EmbeddedDynamoDb;
    use crate::environment::SystemEnvironment;
    use crate::messages_table::feed::{FeedContent, FeedEntry};
    use crate::messages_table::schema::{Billing, load_messages_table};
    use crate::messages_table::{Applied, MessagesTable};
    use crate::model::{MessageGroupUuid, UserUuid};
    use crate::users::Users;

    const DEADLINE: Duration = Duration::from_secs(30);
    /// Read units of a short page.
    const READ: f64 = 1.0;

    /// An empty feed, and what its readers need.
    struct Feed {
        messaging: Messaging,
        table: MessagesTable,
        live: Arc<Live>,
        user: Arc<User>,
        _engine: EmbeddedDynamoDb,
    }

    impl Feed {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let engine = EmbeddedDynamoDb::start(None, listener).expect("an engine");
            let aws = Aws::local(engine.url()).await;
            load_messages_table(&aws.dynamodb, "messages", Billing::FREE_TIER).await.expect("a table");
            let table = MessagesTable::new(aws.dynamodb, "messages");
            // Reading a feed needs no users.
            let users = Users::new(PgPool::connect_lazy("postgresql://nobody@127.0.0.1:9/nothing").expect("a pool"));
            let messaging = Messaging::new(table.clone(), users, Arc::new(SystemEnvironment), 0, 16);
            let user = User { uuid: UserUuid(Uuid::new_v4()), handle: "ana".into(), display_name: "Ana".into() };
            Self { messaging, table, live: Live::in_process(), user: Arc::new(user), _engine: engine }
        }

        /// A reader that waits for new events.
        async fn reader(&self) -> FeedReader {
            let started = FeedReader::start(&self.messaging, &self.live, self.user.clone(), None).await;
            let mut reader = started.expect("a reader");
            assert!(matches!(reader.next(&self.messaging).await, FeedItem::Ready(_)));
            reader
        }

        /// Appends an entry at `position`, and sends the hint about it.
        async fn append(&self, position: u64) {
            let entry = FeedEntry {
                owner: self.user.uuid,
                position,
                id: position.to_string(),
                events: position,
                written_at: 0,
                expires_at: None,
                content: FeedContent::Reset(MessageGroupUuid(Uuid::new_v4())),
            };
            assert_eq!(self.table.apply(&[], &[entry]).await.expect("an entry"), Applied::Done);
            self.live.hub().hint(self.user.uuid, position);
        }

        fn read_units(&self) -> f64 {
            self.table.consumed().read
        }
    }

    async fn event(reader: &mut FeedReader, feed: &Feed) -> FeedCursor {
        match timeout(DEADLINE, reader.next(&feed.messaging)).await.expect("an event") {
            FeedItem::Event(cursor, _) => cursor,
            FeedItem::Ready(_) => panic!("it was ready before"),
        }
    }

    /// An event stream drops the wait for an event when it has to send something else, such as a keep-alive comment.
    #[tokio::test]
    async fn a_read_that_was_dropped_is_made_again() {
        let feed = Feed::new().await;
        let mut reader = feed.reader().await;
        feed.append(1).await;
        assert!(reader.next(&feed.messaging).now_or_never().is_none(), "the read takes longer than one poll");
        assert_eq!(event(&mut reader, &feed).await.position(), 1);
    }

    /// A device that reads nothing does not poll its reader.
    #[tokio::test]
    async fn a_device_does_not_wait_for_another_one_that_stands_still() {
        let feed = Feed::new().await;
        let (mut one, mut other) = (feed.reader().await, feed.reader().await);
        feed.append(1).await;
        let mut still = Box::pin(one.next(&feed.messaging));
        assert!((&mut still).now_or_never().is_none());
        assert_eq!(event(&mut other, &feed).await.position(), 1);
    }

    #[tokio::test]
    async fn the_devices_of_a_user_share_the_read_of_a_new_event() {
        let feed = Feed::new().await;
        let (mut one, mut other) = (feed.reader().await, feed.reader().await);
        for position in 1..=3 {
            feed.append(position).await;
            let before = feed.read_units();
            let cursors = join(event(&mut one, &feed), event(&mut other, &feed)).await;
            assert_eq!(cursors.0, cursors.1);
            assert_eq!(cursors.0.position(), position);
            assert_eq!(feed.read_units() - before, READ);
        }
    }

    /// The read of the first device may have missed the event of a later signal, so the second device does not wait for it.
    #[tokio::test]
    async fn a_read_is_not_shared_after_a_later_signal() {
        let feed = Feed::new().await;
        let (mut one, mut other) = (feed.reader().await, feed.reader().await);
        feed.live.hub().checked(feed.user.uuid, 1);
        // A read that goes on for the rest of the test.
        let mut slow = Box::pin(one.next(&feed.messaging));
        assert!((&mut slow).now_or_never().is_none());
        feed.append(1).await;
        assert_eq!(event(&mut other, &feed).await.position(), 1);
    }
}
