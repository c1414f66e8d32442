//! Activities: what users do now, such as typing. They are not stored, and each is delivered at most once.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;

use crate::model::{MessageGroupUuid, Participant, UserUuid};

/// How long a user counts as typing after a signal.
const TYPING_LASTS: TimeDelta = TimeDelta::seconds(6);
/// Minimum time between two delivered signals of a user for the same group. A signal that comes earlier is dropped.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);
/// Maximum time that a signal of another process usually needs to this one.
const TRANSFER_TIME: Duration = Duration::from_millis(500);
/// Maximum number of signals that are remembered. If a signal is forgotten, the next one is delivered even if it comes
/// too early.
const MAX_SIGNALS: usize = 50_000;

/// Something that a user does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A user is typing a message.
    TypingStarted {
        /// The group of the message.
        group: MessageGroupUuid,
        /// The user.
        user: Participant,
        /// Time after which the user no longer counts as typing.
        expires_at: DateTime<Utc>,
    },
    /// A user has marked messages as read.
    ReadMarkerMoved {
        /// The group of the messages.
        group: MessageGroupUuid,
        /// The user.
        user: Participant,
        /// The cursor of the last message that the user has read.
        read_cursor: String,
        /// The number of messages that the user has not read. Only the user receives it.
        unread: Option<u64>,
    },
}

impl Activity {
    /// The activity of a user who is typing at the time `now`.
    pub fn typing(group: MessageGroupUuid, user: Participant, now: DateTime<Utc>) -> Self {
        Self::TypingStarted { group, user, expires_at: now + TYPING_LASTS }
    }
}

/// For each user and group, the time of the last typing signal that was delivered.
pub struct TypingSignals(Cache<(UserUuid, MessageGroupUuid), Instant>);

impl Default for TypingSignals {
    fn default() -> Self {
        Self(Cache::new(MAX_SIGNALS))
    }
}

impl TypingSignals {
    /// Returns whether a signal must be delivered, and records it in that case. A signal is delivered if the last delivered
    /// one is at least [`TYPING_INTERVAL`] old.
    pub fn is_due(&self, user: UserUuid, group: MessageGroupUuid, now: Instant) -> bool {
        self.is_due_since(now, user, group, now)
    }

    /// The same for a signal that another process has delivered some time before.
    pub fn is_due_here(&self, user: UserUuid, group: MessageGroupUuid, now: Instant) -> bool {
        self.is_due_since(now.checked_sub(TRANSFER_TIME).unwrap_or(now), user, group, now)
    }

    fn is_due_since(&self, delivered: Instant, user: UserUuid, group: MessageGroupUuid, now: Instant) -> bool {
        let key = (user, group);
        let is_early = |last: Instant| now.saturating_duration_since(last) < TYPING_INTERVAL;
        if self.0.get(&key).is_some_and(is_early) {
            return false;
        }
        self.0.insert(key, delivered);
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn signals_are_due_once_in_three_seconds_for_each_user_and_group() {
        let (signals, start) = (TypingSignals::default(), Instant::now());
        let [ana, ben] = [1, 2].map(|number| UserUuid(Uuid::from_u128(number)));
        let [one, other] = [3, 4].map(|number| MessageGroupUuid(Uuid::from_u128(number)));
        assert!(signals.is_due(ana, one, start));
        assert!(!signals.is_due(ana, one, start + TYPING_INTERVAL / 2));
        assert!(signals.is_due(ana, other, start));
        assert!(signals.is_due(ben, one, start));
        assert!(signals.is_due(ana, one, start + TYPING_INTERVAL));
        assert!(!signals.is_due(ana, one, start + TYPING_INTERVAL));
        assert!(!signals.is_due_here(ana, one, start + TYPING_INTERVAL + Duration::from_secs(1)));
        assert!(signals.is_due_here(ana, one, start + 2 * TYPING_INTERVAL));
        // The next one, which another process has delivered in time, needed less time, or came to this process.
        assert!(signals.is_due_here(ana, one, start + 3 * TYPING_INTERVAL - TRANSFER_TIME));
        assert!(signals.is_due(ana, one, start + 4 * TYPING_INTERVAL - 2 * TRANSFER_TIME));
    }
}
