//! Live updates: notifies subscriptions of new entries in their feeds at once, and delivers activities such as typing.
//!
//! Messages are read only from the feed in the table. This module delivers *hints*: "the feed of this user has reached
//! this position". If a hint is lost, late or repeated, no message is lost: a subscription reads its feed from its own
//! cursor, and [`checker`] compares each subscribed feed with the table at regular intervals. Activities are not stored,
//! so they may be lost.
//!
//! | file | purpose |
//! |---|---|
//! | [`hub`] | passes hints and activities to the subscriptions of this process |
//! | [`feed_reader`] | reads a feed for one subscription: first the missed events, then the new ones |
//! | [`activity`] | typing and read markers |
//! | [`broker`] | sends hints and activities to other processes; a trait, so that other brokers can be added |
//! | [`postgres`] | the broker that uses `LISTEN` and `NOTIFY` of PostgreSQL |
//! | [`checker`] | finds hints that were lost, and users that were deleted |

pub mod activity;
pub mod broker;
pub mod checker;
pub mod feed_reader;
pub mod hub;
pub mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use self::activity::{Activity, TypingSignals};
use self::broker::Outbox;
use self::hub::Hub;
use crate::environment::Environment;
use crate::metrics;
use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// The live updates of one process.
pub struct Live {
    hub: Arc<Hub>,
    /// Sends to other processes. `None` if there are none.
    outbox: Option<Outbox>,
    listening: Listening,
    typing: TypingSignals,
}

/// Whether hints of other processes arrive.
#[derive(Clone, Default)]
pub struct Listening(Arc<ListeningState>);

#[derive(Default)]
struct ListeningState {
    is_lost: AtomicBool,
    /// Notified each time hints may have been lost.
    check: Notify,
}

impl Listening {
    /// Registers that hints arrive. If they did not arrive before, some were lost.
    pub fn established(&self) {
        self.set_lost(false);
    }

    /// Registers that hints do not arrive.
    pub fn lost(&self) {
        self.set_lost(true);
    }

    /// Whether hints of other processes arrive.
    pub fn is_established(&self) -> bool {
        !self.0.is_lost.load(Ordering::Relaxed)
    }

    /// Waits until hints may have been lost.
    pub async fn changed(&self) {
        self.0.check.notified().await;
    }

    fn set_lost(&self, is_lost: bool) {
        if self.0.is_lost.swap(is_lost, Ordering::Relaxed) != is_lost {
            self.0.check.notify_one();
        }
        metrics::hints_arrive(!is_lost);
    }
}

impl Live {
    /// Live updates of a program that runs as one process.
    pub fn in_process() -> Arc<Self> {
        Self::new(None)
    }

    /// Live updates of one of several processes. `outbox` sends to the others.
    pub fn with_outbox(outbox: Outbox) -> Arc<Self> {
        Self::new(Some(outbox))
    }

    fn new(outbox: Option<Outbox>) -> Arc<Self> {
        let (listening, typing) = (Listening::default(), TypingSignals::default());
        Arc::new(Self { hub: Hub::new(), outbox, listening, typing })
    }

    /// The subscriptions of this process.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Whether hints of other processes arrive.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Notifies the subscriptions of all processes that feeds have new entries. `heads` are users, and the positions of the
    /// last entries of their feeds.
    pub fn appended(&self, heads: impl Iterator<Item = (UserUuid, u64)>) {
        for (user, position) in heads {
            self.hub.hint(user, position);
            if let Some(outbox) = &self.outbox {
                outbox.add_head(user, position);
            }
        }
    }

    /// Notifies `recipient` that `user` is typing a message in `group`. Does nothing if the last signal of the user for this
    /// group was delivered too recently: see [`TypingSignals::is_due`].
    pub fn signal_typing(
        &self,
        group: MessageGroupUuid,
        user: Participant,
        recipient: UserUuid,
        environment: &dyn Environment,
    ) {
        if self.typing.is_due(user.uuid, group, environment.monotonic()) {
            self.publish(recipient, Activity::typing(group, user, environment.now()));
        }
    }

    /// Passes what another process has sent to the subscriptions of this process.
    pub fn received(&self, heads: Vec<(UserUuid, u64)>, activities: Vec<(UserUuid, Activity)>, now: Instant) {
        for (user, position) in heads {
            self.hub.hint(user, position);
        }
        for (recipient, activity) in activities {
            // A user can send typing signals to several processes.
            let is_due = match &activity {
                Activity::TypingStarted { group, user, .. } => self.typing.is_due_here(user.uuid, *group, now),
                Activity::ReadMarkerMoved { .. } => true,
            };
            if is_due {
                self.hub.deliver(recipient, activity);
            }
        }
    }

    /// Delivers an activity to the subscriptions of a user, in all processes.
    pub fn publish(&self, recipient: UserUuid, activity: Activity) {
        if let Some(outbox) = &self.outbox {
            outbox.add_activity(recipient, activity.clone());
        }
        self.hub.deliver(recipient, activity);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn hints_that_came_before_the_first_connection_count_as_lost() {
        let live = Live::with_outbox(Outbox::default());
        let listening = live.listening();
        listening.lost();
        assert!(!listening.is_established());
        listening.changed().await;
        listening.established();
        assert!(listening.is_established());
        assert_eq!(listening.changed().now_or_never(), Some(()));
        assert_eq!(listening.changed().now_or_never(), None);
    }
}
