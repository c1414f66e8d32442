//! Reconciles groups: moves each group to its newest message, after records of the stream were lost.
//!
//! Each group is moved as if its newest message had just arrived, under the same conditions. So reconciling is safe during live
//! traffic, and it can be interrupted and started again at any page of the index. During an outage it waits. A group that
//! fails permanently is reported and does not stop the others. Messages that were never read from the stream are missing in
//! the feeds, so the feeds get a reset: an entry that says that messages are missing.

use std::collections::HashSet;

use futures::{StreamExt, stream};

use super::appender::Appender;
use super::effect::{Cause, Effect, EffectError, FAULT_TRIES, Writer};
use super::parts::retry_backoff;
use super::rows::GroupRows;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::{Message, ScanPosition};
use crate::metrics::Count;
use crate::model::MessageGroupUuid;
use crate::report;

/// Maximum number of groups that are reconciled concurrently. Live traffic shares the table's capacity.
const CONCURRENT_GROUPS: usize = 4;

/// The result of reconciling groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Number of groups that were checked.
    pub groups: usize,
    /// Number of groups whose rows moved.
    pub moved: usize,
    /// Groups that failed permanently.
    pub failed: Vec<FailedGroup>,
}

/// A group that could not be reconciled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedGroup {
    /// The group.
    pub group: MessageGroupUuid,
    /// Its newest message, if it could be read.
    pub newest: Option<Message>,
    /// Text of the last error.
    pub reason: String,
}

/// The result of reconciling the groups of one page of the index.
#[derive(Debug)]
pub struct Page {
    /// Counts and failed groups of the page.
    pub done: Reconciled,
    /// The last group of the page. The next page can begin with another row of this group.
    pub last: Option<MessageGroupUuid>,
    /// Position at which the next page begins. `None` after the last page.
    pub next: Option<ScanPosition>,
}

/// Reconciles groups.
pub struct Reconciler<'a, R> {
    /// The rows.
    pub rows: &'a R,
    /// The feeds.
    pub appender: &'a Appender,
    /// Whether records of the stream were lost. If true, the feeds of every group are reset, because a message can be missing
    /// even if the rows have moved to a later one. If false, they are reset only if a row is older than the newest message.
    pub records_lost: bool,
    /// Time and randomness of the waits.
    pub environment: &'a dyn Environment,
    /// Maximum number of attempts of a call that fails because of an outage.
    pub outage_tries: u32,
}

impl<R: GroupRows> Reconciler<'_, R> {
    /// Reconciles one group. Returns `None` if it has no message.
    pub async fn group(&self, group: MessageGroupUuid) -> Result<Option<Effect>, EffectError> {
        match self.rows.newest_message(group, None).await? {
            Some(newest) => self.message(&newest, self.records_lost).await.map(Some),
            None => Ok(None),
        }
    }

    /// Moves the group of `message` to this message. If it may be missing in the feeds (`may_be_lost`), resets the feeds.
    pub async fn message(&self, message: &Message, may_be_lost: bool) -> Result<Effect, EffectError> {
        let writer = Writer { table: self.rows, appender: self.appender, environment: self.environment };
        writer.apply(Cause::Checked { newest: message, may_be_lost }).await
    }

    /// Reconciles all groups that have a row. Calls `progress` after each page with the result so far.
    pub async fn all(&self, mut progress: impl FnMut(&Reconciled)) -> Result<Reconciled, EffectError> {
        let mut done = Reconciled::default();
        let (mut from, mut last) = (None, None);
        loop {
            let page = self.page(from, last, || {}).await?;
            done.groups += page.done.groups;
            done.moved += page.done.moved;
            done.failed.extend(page.done.failed);
            progress(&done);
            if page.next.is_none() {
                return Ok(done);
            }
            (from, last) = (page.next, page.last);
        }
    }

    /// Reconciles the groups of the page of the index that begins at `from`, except the group `last`, with which the previous
    /// page ended. Calls `progress` after each group.
    pub async fn page(
        &self,
        from: Option<ScanPosition>,
        last: Option<MessageGroupUuid>,
        progress: impl Fn(),
    ) -> Result<Page, EffectError> {
        let mut tries = Tries { outages: 0, faults: 0, backoff: retry_backoff() };
        let (mut groups, next) = loop {
            match self.rows.groups(from.clone()).await {
                Ok(page) => break page,
                Err(error) => tries.wait_out(self, error.into()).await?,
            }
        };
        // The rows of a group are adjacent in the index.
        let end = groups.last().copied().or(last);
        let mut seen: HashSet<MessageGroupUuid> = last.into_iter().collect();
        groups.retain(|group| seen.insert(*group));
        let reconciling: Vec<_> = groups.into_iter().map(|group| self.with_retries(group)).collect();
        let mut reconciling = stream::iter(reconciling).buffer_unordered(CONCURRENT_GROUPS);
        let mut done = Reconciled::default();
        while let Some(reconciled) = reconciling.next().await {
            done.groups += 1;
            match reconciled? {
                Ok(effect) => done.moved += usize::from(effect == Some(Effect::Moved)),
                Err(failed) => done.failed.push(failed),
            }
            progress();
        }
        Ok(Page { done, last: end, next })
    }

    async fn with_retries(&self, group: MessageGroupUuid) -> Result<Result<Option<Effect>, FailedGroup>, EffectError> {
        let mut tries = Tries { outages: 0, faults: 0, backoff: retry_backoff() };
        loop {
            let reason = match self.group(group).await {
                Ok(Some(Effect::NoParticipants)) => Effect::NO_PARTICIPANTS.to_owned(),
                Ok(effect) => return Ok(Ok(effect)),
                Err(error) if error.is_transient() => {
                    tries.wait_out(self, error).await?;
                    continue;
                }
                Err(error) => report(&error),
            };
            tracing::warn!(reason, %group, "reconciling the group failed");
            tries.faults += 1;
            if tries.faults == FAULT_TRIES {
                let newest = self.rows.newest_message(group, None).await.ok().flatten();
                return Ok(Err(FailedGroup { group, newest, reason }));
            }
            tokio::time::sleep(tries.backoff.next(self.environment)).await;
        }
    }
}

/// The failed attempts of one call.
struct Tries {
    outages: u32,
    faults: u32,
    backoff: Backoff,
}

impl Tries {
    /// Waits before the next attempt. Returns the error if it is not transient or no attempt is left.
    async fn wait_out<R>(&mut self, of: &Reconciler<'_, R>, error: EffectError) -> Result<(), EffectError> {
        self.outages += 1;
        if !error.is_transient() || self.outages >= of.outage_tries {
            return Err(error);
        }
        Count::Retries.add(1);
        tracing::warn!(error = report(&error), "an outage interrupted the reconciliation, retrying");
        tokio::time::sleep(self.backoff.next(of.environment)).await;
        Ok(())
    }
}
