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
                // A signal counts once, and the read after it can be dropped.
                self.may_have_more = true;
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
                    (self.end, self.may_have_more) = (end, has_next);
                    return;
                }
                Err(error) => tracing::warn!(error = report(&error), "reading a subscribed feed failed, retrying"),
            }
            tokio::time::sleep(backoff.next(messaging.environment())).await;
        }
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use futures::FutureExt;
    use tokio::net::TcpListener;
    use tokio::time::{sleep, timeout};
    use uuid::Uuid;

    use super::*;
    use crate::app::pool;
    use crate::aws::Aws;
    use crate::embedded::dynamodb::EmbeddedDynamoDb;
    use crate::environment::SystemEnvironment;
    use crate::messages_table::MessagesTable;
    use crate::messages_table::schema::{Billing, load_messages_table};
    use crate::model::UserUuid;
    use crate::users::Users;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// An event stream drops the wait for an event when it has to send something else, such as a sign of life.
    #[tokio::test]
    async fn a_read_that_was_dropped_is_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let engine = EmbeddedDynamoDb::start(None, listener).expect("an engine");
        let aws = Aws::local(engine.url()).await;
        load_messages_table(&aws.dynamodb, "messages", Billing::FREE_TIER).await.expect("a table");
        let table = MessagesTable::new(aws.dynamodb, "messages");
        // Reading a feed needs no users.
        let users = Users::new(pool("postgresql://nobody@127.0.0.1:9/nothing", 1, None).expect("a pool"));
        let messaging = Messaging::new(table.clone(), users, Arc::new(SystemEnvironment), 0, 1);
        let user = User { uuid: UserUuid(Uuid::new_v4()), handle: "ana".into(), display_name: "Ana".into() };
        let (live, uuid) = (Live::in_process(), user.uuid);
        let started = FeedReader::start(&messaging, &live, Arc::new(user), None).await;
        let mut reader = started.expect("a reader");
        assert!(matches!(reader.next(&messaging).await, FeedItem::Ready(_)));

        live.hub().hint(uuid, 1);
        assert!(reader.next(&messaging).now_or_never().is_none(), "the read takes longer than one poll");
        let before = table.consumed().read;
        let read = async {
            while table.consumed().read == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            item = reader.next(&messaging) => panic!("the feed is empty: {item:?}"),
            read = timeout(DEADLINE, read) => read.expect("a read"),
        }
    }
}
