//! The state that the readers of all shards of one process and its repair share.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::appender::Appender;
use super::health::Health;
use super::ids::StreamArn;
use super::lease::NewLease;
use super::lost_records::LostRecords;
use super::open_shards::OpenShards;
use super::set_aside::{SetAside, Subject};
use super::source::Shard;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::metrics::Count;
use crate::report;

/// The stream, the tables, the clock and the health of the consumer.
pub struct Parts<S, T, R> {
    /// The stream.
    pub source: S,
    /// The table of leases, the repair and set-aside entries.
    pub table: T,
    /// The rows of message groups.
    pub rows: R,
    /// The feeds.
    pub appender: Appender,
    /// Time and randomness.
    pub environment: Arc<dyn Environment>,
    /// Time for which the stream keeps records.
    pub retention: Duration,
    /// Whether the consumer makes progress.
    pub health: Arc<Health>,
    /// The groups of which records may be lost.
    pub lost_records: LostRecords,
    /// When the shards were last open.
    pub open_shards: OpenShards,
}

/// Why the work under a lease ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// The work is done: the shard is consumed to its end, or no repair is pending.
    Finished,
    /// The process stops. It held the lease until then.
    Stopped,
    /// Another process has the lease.
    Lost,
}

/// Returns the waits between retries of a call that must eventually succeed.
pub fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}

impl<S, T, R> Parts<S, T, R> {
    /// The current time in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.environment.now().timestamp_millis()
    }

    /// Whether records that the stream received after `since`, in milliseconds since 1970, may have been trimmed. Returns `false`
    /// if `since` is unknown. This compares the clocks of two machines, which must differ by less than a tenth of the retention.
    pub fn may_be_trimmed(&self, since: Option<i64>) -> bool {
        self.is_older(since, self.retention * 9 / 10)
    }

    /// Whether all records that the stream received before `until` are trimmed, if the clocks differ as little as above. Returns
    /// `false` if `until` is unknown.
    pub fn are_trimmed(&self, until: Option<i64>) -> bool {
        self.is_older(until, self.retention * 11 / 10)
    }

    fn is_older(&self, time: Option<i64>, age: Duration) -> bool {
        time.is_some_and(|time| u128::try_from(self.now().saturating_sub(time)).is_ok_and(|it| it > age.as_millis()))
    }

    /// Returns a lease for a shard whose records are younger than `since`, or younger than now if `since` is unknown.
    pub fn new_lease(&self, shard: Shard, since: Option<i64>, is_behind_gap: bool) -> NewLease {
        NewLease { shard, created_at: since.unwrap_or_else(|| self.now()), is_behind_gap }
    }

    /// Logs and counts a record or group that failed permanently, and returns its entry. The caller must store the entry. `pk`
    /// and `sk` are the keys of the message.
    pub fn set_aside(&self, stream: &StreamArn, subject: Subject, reason: String, pk: &str, sk: &str) -> SetAside {
        Count::SetAside.add(1);
        tracing::error!(%subject, reason, message_pk = pk, message_sk = sk, "set aside, because it failed permanently");
        SetAside {
            stream: stream.clone(),
            subject,
            reason,
            message_pk: pk.to_owned(),
            message_sk: sk.to_owned(),
            set_aside_at: self.environment.now().to_rfc3339(),
        }
    }

    /// Retries a call until it succeeds or the process stops. `call` describes the call in the log. Calls `failed` after each
    /// failure.
    pub async fn retry<A, E, F>(
        &self,
        stop: &CancellationToken,
        call: &str,
        mut attempt: impl FnMut() -> F,
        failed: impl Fn(),
    ) -> Result<A, Left>
    where
        E: std::error::Error,
        F: Future<Output = Result<A, E>>,
    {
        let mut backoff = retry_backoff();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    Count::Retries.add(1);
                    failed();
                    tracing::warn!(error = report(&error), call, "a call of the stream consumer failed, retrying");
                }
            }
            sleep(stop, backoff.next(&*self.environment)).await?;
        }
    }
}

/// Waits for `time`. Returns an error as soon as the process stops.
pub async fn sleep(stop: &CancellationToken, time: Duration) -> Result<(), Left> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Left::Stopped),
        () = tokio::time::sleep(time) => Ok(()),
    }
}
