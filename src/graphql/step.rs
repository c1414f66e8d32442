//! The steps of a subscription, and its events.
//!
//! The engine does not wait for events, because it would keep the state of an execution for each idle client. Instead, the
//! engine executes a subscription once at the start, which checks the arguments and creates a [`Source`], and then once for
//! each event of the source. So an idle subscription consists of a source and a plan, and each event has its own limits and
//! batches, like a request.

use std::sync::{Arc, Mutex, PoisonError};

use crate::live::Live;
use crate::live::activity::Activity;
use crate::live::feed_reader::{FeedItem, FeedReader};
use crate::live::hub::Activities;
use crate::messaging::Messaging;
use crate::model::User;

/// The source of the events of a subscription.
pub enum Source {
    /// A feed.
    Feed(Box<FeedReader>),
    /// The activities that a user receives.
    Activities(Activities),
}

/// An event of a subscription.
pub enum Event {
    /// An event of a feed.
    Feed(Box<FeedItem>),
    /// An activity.
    Activity(Activity),
}

impl Source {
    /// Waits for the next event. See [`FeedReader::next`] if the returned future may be dropped.
    pub async fn next(&mut self, messaging: &Messaging) -> Event {
        match self {
            Self::Feed(reader) => Event::Feed(Box::new(reader.next(messaging).await)),
            Self::Activities(activities) => Event::Activity(activities.next().await),
        }
    }
}

impl Event {
    /// The cursor after the event, if it has one.
    pub fn cursor(&self) -> Option<String> {
        match self {
            Self::Feed(item) => match &**item {
                FeedItem::Event(cursor, _) | FeedItem::Ready(cursor) => Some(cursor.encode()),
            },
            Self::Activity(_) => None,
        }
    }
}

/// A subscription that has started.
pub struct Started {
    /// The user who subscribed.
    pub user: Arc<User>,
    /// The source of its events.
    pub source: Source,
}

/// Which step of a subscription the engine executes.
pub enum Step {
    /// The start of the subscription.
    Start {
        /// The live updates.
        live: Arc<Live>,
        /// The cursor that a client of server-sent events sends when it connects again.
        last_event_id: Option<String>,
        /// Receives the result of the start.
        started: Cell<Started>,
    },
    /// An event of the subscription. The resolver takes it.
    Event(Cell<Event>),
}

impl Step {
    /// Creates the step that starts a subscription.
    pub fn start(live: Arc<Live>, last_event_id: Option<String>) -> Self {
        Self::Start { live, last_event_id, started: Cell::default() }
    }

    /// Creates the step of an event.
    pub fn event(event: Event) -> Self {
        Self::Event(Cell(Mutex::new(Some(event))))
    }

    /// Takes the result of the start. `None` if the subscription has not started, or if the step is an event.
    pub fn take_started(&self) -> Option<Started> {
        match self {
            Self::Start { started, .. } => started.take(),
            Self::Event(_) => None,
        }
    }
}

/// A slot for a value that is passed to a resolver or returned by it. A resolver has only shared access to the step.
pub struct Cell<T>(Mutex<Option<T>>);

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Cell<T> {
    /// Takes the value, if the slot has one.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stores a value.
    pub fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}
