//! Carries hints and activities between the processes.
//!
//! A [`Broker`] sends texts to all processes, and its listener passes each text that arrives to [`receive`]. This file
//! defines the content of the texts. The [`Outbox`] collects what the process has to send: while one text is being sent,
//! a newer hint for a feed replaces the older one, so a slow broker gets fewer texts and not a longer queue.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::activity::Activity;
use crate::model::{MessageGroupUuid, NameCopy, Participant, UserUuid};
use crate::{metrics, report};

/// Minimum time between two sends of activities. All activities that wait are sent together. Hints are sent at once.
const ACTIVITY_INTERVAL: Duration = Duration::from_millis(250);
/// Time after the stop in which hints are still sent. The consumer finishes its last batches in a shorter time.
const LAST_HINTS: Duration = Duration::from_millis(500);
/// Maximum number of activities that wait to be sent. Further ones are dropped.
const MAX_WAITING_ACTIVITIES: usize = 10_000;

/// Sends texts to all processes.
pub trait Broker: Send + Sync + 'static {
    /// Why a text was not sent.
    type Error: std::error::Error;

    /// The maximum length of a text in bytes.
    const MAX_TEXT_BYTES: usize;

    /// Sends a text to all processes, including this one.
    fn send(&self, text: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A text between processes.
#[derive(Default, Serialize, Deserialize)]
struct Text {
    /// The process that sent it.
    from: Uuid,
    /// The hints: a user, and the position that the user's feed has reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<(Uuid, u64)>,
    /// Activities, each with the user who receives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    activities: Vec<(Uuid, ActivityText)>,
    /// A number with which a process tests that its own texts arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    test: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ActivityText {
    group: Uuid,
    user: Uuid,
    handle: String,
    display_name: String,
    #[serde(flatten)]
    kind: ActivityKind,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ActivityKind {
    Typing { expires_at_ms: i64 },
    ReadMarker { read_cursor: String, unread: Option<u64> },
}

/// The hints and activities that wait to be sent. Cheap to clone: clones share the content.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    heads: Mutex<HashMap<UserUuid, u64>>,
    activities: Mutex<Vec<(UserUuid, Activity)>>,
    heads_added: Notify,
    activities_added: Notify,
}

impl Outbox {
    /// Adds a hint: the feed of `user` has reached `position`.
    pub fn add_head(&self, user: UserUuid, position: u64) {
        let mut heads = self.0.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let head = heads.entry(user).or_default();
        *head = position.max(*head);
        self.0.heads_added.notify_one();
    }

    /// Adds an activity for `recipient`. Drops it if [`MAX_WAITING_ACTIVITIES`] activities wait already.
    pub fn add_activity(&self, recipient: UserUuid, activity: Activity) {
        let mut activities = self.0.activities.lock().unwrap_or_else(PoisonError::into_inner);
        if activities.len() < MAX_WAITING_ACTIVITIES {
            activities.push((recipient, activity));
            self.0.activities_added.notify_one();
        }
    }

    /// Sends hints and activities until [`LAST_HINTS`] after `stop`. `process` identifies this process; no other process has the
    /// same value.
    pub async fn run<B: Broker>(self, broker: Arc<B>, process: Uuid, stop: CancellationToken) {
        let hints = async {
            loop {
                self.0.heads_added.notified().await;
                let heads = std::mem::take(&mut *self.0.heads.lock().unwrap_or_else(PoisonError::into_inner));
                let heads = heads.into_iter().map(|(user, position)| (user.0, position)).collect();
                send(&*broker, process, heads, |text| &mut text.heads).await;
            }
        };
        let activities = async {
            loop {
                self.0.activities_added.notified().await;
                let next = Instant::now() + ACTIVITY_INTERVAL;
                let waiting = std::mem::take(&mut *self.0.activities.lock().unwrap_or_else(PoisonError::into_inner));
                let texts = waiting.into_iter().map(|(recipient, activity)| (recipient.0, activity.into())).collect();
                send(&*broker, process, texts, |text| &mut text.activities).await;
                sleep_until(next).await;
            }
        };
        tokio::select! {
            () = async { stop.cancelled().await; sleep(LAST_HINTS).await } => {}
            () = hints => {}
            () = activities => {}
        }
    }
}

/// Sends `items` in as few texts as possible. An item that is longer than a text is dropped.
async fn send<B: Broker, T>(broker: &B, process: Uuid, items: Vec<T>, list: impl Fn(&mut Text) -> &mut Vec<T>)
where
    T: Serialize,
{
    // More than the bytes of a text without items.
    const EMPTY_BYTES: usize = 100;
    let mut text = Text { from: process, ..Text::default() };
    let mut bytes = EMPTY_BYTES;
    for item in items {
        let Ok(more) = serde_json::to_vec(&item).map(|json| json.len() + 1) else { continue };
        if bytes + more > B::MAX_TEXT_BYTES && bytes > EMPTY_BYTES {
            send_text(broker, &text).await;
            list(&mut text).clear();
            bytes = EMPTY_BYTES;
        }
        if EMPTY_BYTES + more <= B::MAX_TEXT_BYTES {
            bytes += more;
            list(&mut text).push(item);
        }
    }
    if bytes > EMPTY_BYTES {
        send_text(broker, &text).await;
    }
}

async fn send_text<B: Broker>(broker: &B, text: &Text) {
    let Ok(text) = serde_json::to_string(text) else { return };
    let sent = broker.send(&text).await;
    metrics::hints_sent(sent.is_ok());
    if let Err(error) = sent {
        // Hints may be lost, because the checkers of the other processes compare their feeds with the table. Activities may
        // be lost, too.
        tracing::warn!(error = report(&error), "sending hints and activities to other processes failed");
    }
}

/// Returns the text with the number `test`, with which `process` tests that its own texts arrive.
pub fn test_text(process: Uuid, test: u64) -> String {
    let text = Text { from: process, test: Some(test), ..Text::default() };
    serde_json::to_string(&text).unwrap_or_default()
}

/// What a text contains for a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The number of the test, if it is one of this process.
    pub test: Option<u64>,
    /// Users, and the positions of the last entries of their feeds.
    pub heads: Vec<(UserUuid, u64)>,
    /// Activities, and the users who receive them.
    pub activities: Vec<(UserUuid, Activity)>,
}

/// Reads a text that has arrived at `process`. A text of another version of this program, or of another program, may be
/// unreadable. It is ignored, because hints may be lost.
pub fn receive(text: &str, process: Uuid) -> Received {
    let text: Text = match serde_json::from_str(text) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(%error, "an unreadable hint was ignored");
            return Received::default();
        }
    };
    // This process has already passed its own hints and activities to its subscriptions.
    if text.from == process {
        return Received { test: text.test, ..Received::default() };
    }
    let activities = text.activities.into_iter().filter_map(|(to, activity)| Some((UserUuid(to), activity.read()?)));
    Received {
        test: None,
        heads: text.heads.into_iter().map(|(user, position)| (UserUuid(user), position)).collect(),
        activities: activities.collect(),
    }
}

impl From<Activity> for ActivityText {
    fn from(activity: Activity) -> Self {
        let (group, user, kind) = match activity {
            Activity::TypingStarted { group, user, expires_at } => {
                (group, user, ActivityKind::Typing { expires_at_ms: expires_at.timestamp_millis() })
            }
            Activity::ReadMarkerMoved { group, user, read_cursor, unread } => {
                (group, user, ActivityKind::ReadMarker { read_cursor, unread })
            }
        };
        let NameCopy { handle, display_name } = (*user.names).clone();
        Self { group: group.0, user: user.uuid.0, handle, display_name, kind }
    }
}

impl ActivityText {
    fn read(self) -> Option<Activity> {
        let Self { group, user, handle, display_name, kind } = self;
        let user = Participant { uuid: UserUuid(user), names: Arc::new(NameCopy { handle, display_name }) };
        let group = MessageGroupUuid(group);
        Some(match kind {
            ActivityKind::Typing { expires_at_ms } => {
                Activity::TypingStarted { group, user, expires_at: DateTime::from_timestamp_millis(expires_at_ms)? }
            }
            ActivityKind::ReadMarker { read_cursor, unread } => {
                Activity::ReadMarkerMoved { group, user, read_cursor, unread }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use chrono::Utc;

    use super::*;

    #[derive(Default)]
    struct Sent(Mutex<Vec<String>>);

    impl Broker for Sent {
        type Error = Infallible;
        const MAX_TEXT_BYTES: usize = 1_000;

        async fn send(&self, text: &str) -> Result<(), Infallible> {
            self.0.lock().expect("the texts").push(text.to_owned());
            Ok(())
        }
    }

    fn user(number: u128) -> UserUuid {
        UserUuid(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn many_hints_go_into_few_texts_and_all_arrive_in_another_process() {
        let broker = Sent::default();
        let (process, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let heads: Vec<_> = (0..100).map(|number| (user(number).0, number as u64 + 1)).collect();
        send(&broker, process, heads, |text| &mut text.heads).await;
        let texts = broker.0.lock().expect("the texts").clone();
        assert!(texts.len() < 10 && texts.iter().all(|text| text.len() <= Sent::MAX_TEXT_BYTES), "{texts:?}");
        let mut received: Vec<_> = texts.iter().flat_map(|text| receive(text, other).heads).collect();
        received.sort_by_key(|(_, position)| *position);
        let sent: Vec<_> = (0..100).map(|number| (user(number), number as u64 + 1)).collect();
        assert_eq!(received, sent);
    }

    /// The consumer finishes its last batches after the stop.
    #[tokio::test(start_paused = true)]
    async fn hints_are_sent_for_a_moment_after_the_stop() {
        let (broker, outbox, stop) = (Arc::new(Sent::default()), Outbox::default(), CancellationToken::new());
        let sending = tokio::spawn(outbox.clone().run(broker.clone(), Uuid::from_u128(1), stop.clone()));
        stop.cancel();
        sleep(LAST_HINTS / 2).await;
        outbox.add_head(user(1), 1);
        sending.await.expect("no panic");
        assert_eq!(broker.0.lock().expect("the texts").len(), 1);
    }

    #[tokio::test]
    async fn an_activity_arrives_once_in_each_process() {
        let process = Uuid::from_u128(1);
        let names = Arc::new(NameCopy { handle: "ana".into(), display_name: "Ana \"A\"".into() });
        let ana = Participant { uuid: user(1), names };
        let typing = Activity::typing(MessageGroupUuid(Uuid::from_u128(3)), ana.clone(), Utc::now());
        let Activity::TypingStarted { expires_at, group, .. } = typing else { panic!("typing") };
        let expires_at = DateTime::from_timestamp_millis(expires_at.timestamp_millis()).expect("a time");
        let typing = Activity::TypingStarted { group, user: ana.clone(), expires_at };
        let read_cursor = "x".to_owned();
        let marker = Activity::ReadMarkerMoved { group, user: ana, read_cursor, unread: Some(3) };
        let broker = Sent::default();
        let items = [&typing, &marker].map(|it| (user(2).0, ActivityText::from(it.clone()))).into();
        send(&broker, process, items, |text| &mut text.activities).await;
        let texts = broker.0.lock().expect("the texts").clone();
        let received = |process| texts.iter().flat_map(|text| receive(text, process).activities).collect::<Vec<_>>();
        assert_eq!(received(Uuid::from_u128(9)), [(user(2), typing), (user(2), marker)]);
        assert_eq!(received(process), [], "the process that sent a text does not deliver it again");
    }

    #[test]
    fn an_unreadable_text_is_ignored() {
        let process = Uuid::from_u128(1);
        for text in
            ["", "{", "[]", "{\"from\":1}", "{\"from\":\"6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57\",\"heads\":[[1]]}"]
        {
            assert_eq!(receive(text, process), Received::default(), "{text}");
        }
        assert_eq!(receive(&test_text(process, 7), process).test, Some(7));
        assert_eq!(receive(&test_text(process, 7), Uuid::from_u128(2)).test, None);
    }
}
