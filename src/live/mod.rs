//! Live updates: tells subscriptions at once that their feeds have new entries, and delivers activities such as typing.
//!
//! The feed in the table is the truth. This module carries *hints*: "the feed of this user has this position". If a hint is
//! lost, late or repeated, no message is lost, because a subscription reads its feed from its own cursor, and [`checker`]
//! compares each subscribed feed with the table from time to time. Activities are not stored, so they may be lost.
//!
//! | file | purpose |
//! |---|---|
//! | [`hub`] | hands the hints and activities of this process to its subscriptions |
//! | [`feed_reader`] | the position of a subscription in a feed: what was missed first, then what is new |
//! | [`activity`] | typing and read markers |
//! | [`broker`] | carries hints and activities between processes; a trait, so that other brokers can be added |
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
    /// What goes to other processes. `None` if there are none.
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
    /// Notified when hints may have been lost.
    check: Notify,
}

impl Listening {
    /// Registers that hints arrive. Before that, some may have been lost.
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

    /// Live updates of one of several processes. `outbox` takes what goes to the others.
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

    /// Tells the subscriptions of all processes that feeds have new entries.
    pub fn appended(&self, heads: impl Iterator<Item = (UserUuid, u64)>) {
        for (user, position) in heads {
            self.hub.hint(user, position);
            if let Some(outbox) = &self.outbox {
                outbox.add_head(user, position);
            }
        }
    }

    /// Tells `recipient` that `user` writes a message in `group`, unless the last signal was only a moment ago.
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

    /// Delivers an activity to the subscriptions of a user, in all processes.
    pub fn publish(&self, recipient: UserUuid, activity: Activity) {
        if let Some(outbox) = &self.outbox {
            outbox.add_activity(recipient, activity.clone());
        }
        self.hub.deliver(recipient, activity);
    }
}
