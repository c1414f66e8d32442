//! Reconciling: moves each group to its newest message, after records of the stream were lost.
//!
//! Each group is moved as if its newest message had just arrived, under the same conditions. So reconciling is safe beside live
//! traffic, and it can be interrupted and started again. During an outage it waits. A group that fails permanently is
//! reported and does not stop the others.

use std::collections::HashSet;

use super::effect::{Effect, EffectError, FAULT_TRIES, move_to};
use super::parts::retry_backoff;
use super::rows::GroupRows;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::Message;
use crate::metrics::Count;
use crate::model::MessageGroupUuid;
use crate::report;

/// What reconciling has done.
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
    /// Its newest message, if that could be read.
    pub newest: Option<Message>,
    /// Why.
    pub reason: String,
}

/// Reconciles groups.
pub struct Reconciler<'a, R> {
    /// The rows.
    pub rows: &'a R,
    /// Time and randomness of the waits.
    pub environment: &'a dyn Environment,
    /// Maximum number of tries of a call that fails because of an outage.
    pub outage_tries: u32,
}

impl<R: GroupRows> Reconciler<'_, R> {
    /// Reconciles one group. Returns `None` if it has no message.
    pub async fn group(&self, group: MessageGroupUuid) -> Result<Option<Effect>, EffectError> {
        match self.rows.newest_message(group, None).await? {
            Some(newest) => Ok(Some(move_to(self.rows, &newest, self.environment).await?)),
            None => Ok(None),
        }
    }

    /// Reconciles all groups that have a row. Calls `progress` after each group and each page.
    pub async fn all(&self, mut progress: impl FnMut(&Reconciled)) -> Result<Reconciled, EffectError> {
        let mut done = Reconciled::default();
        let mut seen: HashSet<MessageGroupUuid> = HashSet::new();
        let mut from = None;
        loop {
            let mut tries = Tries { outages: 0, faults: 0, backoff: retry_backoff() };
            let (groups, next) = loop {
                match self.rows.groups(from.clone()).await {
                    Ok(page) => break page,
                    Err(error) => tries.wait_out(self, error.into()).await?,
                }
            };
            for group in groups {
                if seen.insert(group) {
                    done.groups += 1;
                    match self.with_retries(group).await? {
                        Ok(effect) => done.moved += usize::from(effect == Some(Effect::Moved)),
                        Err(failed) => done.failed.push(failed),
                    }
                    progress(&done);
                }
            }
            progress(&done);
            if next.is_none() {
                return Ok(done);
            }
            from = next;
        }
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

/// The tries of one call.
struct Tries {
    outages: u32,
    faults: u32,
    backoff: Backoff,
}

impl Tries {
    /// Waits until the next try, or returns the error if waiting does not help or has lasted long enough.
    async fn wait_out<R>(&mut self, of: &Reconciler<'_, R>, error: EffectError) -> Result<(), EffectError> {
        self.outages += 1;
        if !error.is_transient() || self.outages >= of.outage_tries {
            return Err(error);
        }
        Count::Retries.add(1);
        tracing::warn!(error = report(&error), "reconciling is interrupted by an outage, retrying");
        tokio::time::sleep(self.backoff.next(of.environment)).await;
        Ok(())
    }
}
