//! Compares the subscribed feeds with the table, because hints can be lost, and finds users that were deleted.
//!
//! A round checks all users in chunks, with equal pauses between the chunks. While hints of other processes do not
//! arrive, the rounds that compare feeds are shorter.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Live;
use crate::environment::Environment;
use crate::messaging::Messaging;
use crate::model::UserUuid;
use crate::report;

/// Duration of a round that compares feeds, before jitter. A comparison costs one read unit for each 4 KB of the last entry
/// of the feed.
const FEEDS_INTERVAL: Duration = Duration::from_secs(60);
/// Duration of a round that compares feeds while hints do not arrive, before jitter.
const FEEDS_INTERVAL_WITHOUT_HINTS: Duration = Duration::from_secs(2);
/// Duration of a round that looks for deleted users, before jitter. With jitter, two rounds take at most a minute, so a
/// deleted user loses all connections within about a minute.
const USERS_INTERVAL: Duration = Duration::from_secs(20);
/// Maximum number of users that are checked together.
const CHUNK: usize = 100;
/// Maximum number of concurrent reads.
const CONCURRENT_READS: usize = 8;

/// Checks the subscribed feeds and users of one process.
pub struct Checker {
    /// The subscriptions.
    pub live: Arc<Live>,
    /// Reads feeds and users.
    pub messaging: Messaging,
    /// Jitter of the rounds.
    pub environment: Arc<dyn Environment>,
}

impl Checker {
    /// Checks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.compare_feeds() => {}
            () = self.find_deleted_users() => {}
        }
    }

    async fn compare_feeds(&self) {
        let listening = self.live.listening();
        loop {
            let has_hints = listening.is_established();
            let interval = if has_hints { FEEDS_INTERVAL } else { FEEDS_INTERVAL_WITHOUT_HINTS };
            tokio::select! {
                () = self.round(interval, |users| self.compare_feeds_of(users)) => {}
                // Some hints may have been lost, so all feeds are compared at once, without pauses.
                () = listening.changed() => self.round(Duration::ZERO, |users| self.compare_feeds_of(users)).await,
            }
        }
    }

    async fn find_deleted_users(&self) {
        loop {
            self.round(USERS_INTERVAL, |users| self.find_deleted(users)).await;
        }
    }

    /// Calls `check` for all users of the hub, in chunks that are spread over `interval`.
    async fn round<F: Future<Output = ()>>(&self, interval: Duration, check: impl Fn(Vec<UserUuid>) -> F) {
        let users = self.live.hub().users();
        let chunks = users.chunks(CHUNK);
        let interval = self.environment.jitter(interval);
        let pause = interval / u32::try_from(chunks.len().max(1)).unwrap_or(u32::MAX);
        for chunk in chunks {
            check(chunk.to_vec()).await;
            sleep(pause).await;
        }
        if users.is_empty() {
            sleep(pause).await;
        }
    }

    async fn find_deleted(&self, users: Vec<UserUuid>) {
        match self.messaging.users().by_uuids(&users).await {
            Ok(found) => {
                for user in users.iter().filter(|user| !found.contains_key(user)) {
                    self.live.hub().gone(*user);
                }
            }
            // While PostgreSQL does not respond, no user counts as deleted.
            Err(error) => tracing::warn!(
                error = report(&error),
                "looking for deleted users among the connected ones failed, retrying later"
            ),
        }
    }

    async fn compare_feeds_of(&self, users: Vec<UserUuid>) {
        let messaging = self.messaging.for_query();
        let heads = stream::iter(users).map(|user| {
            let messaging = &messaging;
            async move { (user, messaging.feed_position(user).await) }
        });
        let mut heads = heads.buffer_unordered(CONCURRENT_READS);
        while let Some((user, position)) = heads.next().await {
            match position {
                Ok(position) => self.live.hub().checked(user, position),
                Err(error) => tracing::debug!(error = report(&error), "a subscribed feed could not be compared"),
            }
        }
    }
}
