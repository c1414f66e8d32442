//! Reconciling: recomputes group rows from the newest messages, where records were lost to the consumer.
//!
//! Each group is moved as if its newest message had just arrived, under the same conditions, so that it is safe beside
//! live traffic and can be cut off and begun again. An outage is waited out where it struck; a group that fails by its own
//! fault is told of and holds up none of the others.

use std::collections::HashSet;

use super::backoff::Backoff;
use super::effect::{Effect, EffectError, TRIES_OF_A_FAULT, move_to};
use super::rows::GroupRows;
use crate::environment::Environment;
use crate::messages_table::Message;
use crate::metrics::Count;
use crate::model::MessageGroupUuid;
use crate::report;

/// What reconciling did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Groups looked at.
    pub groups: usize,
    /// Groups whose rows moved.
    pub moved: usize,
    /// Groups that could not be reconciled, by their own fault.
    pub failed: Vec<Failed>,
}

/// A group that could not be reconciled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The group.
    pub group: MessageGroupUuid,
    /// Its newest message, where that could be read.
    pub newest: Option<Message>,
    /// Why.
    pub reason: String,
}

/// Reconciles groups, with this much patience.
pub struct Reconciler<'a, R> {
    /// The rows.
    pub rows: &'a R,
    /// For the waits.
    pub environment: &'a dyn Environment,
    /// How often a call that cannot get through is tried before the whole is given up.
    pub tries_of_an_outage: u32,
}

impl<R: GroupRows> Reconciler<'_, R> {
    /// Reconciles one group; `None` when it has no message.
    pub async fn group(&self, group: MessageGroupUuid) -> Result<Option<Effect>, EffectError> {
        match self.rows.newest_message(group, None).await? {
            Some(newest) => Ok(Some(move_to(self.rows, &newest, self.environment).await?)),
            None => Ok(None),
        }
    }

    /// Reconciles all groups that have a row, telling how far it is after every group and every page.
    pub async fn all(&self, mut progress: impl FnMut(&Reconciled)) -> Result<Reconciled, EffectError> {
        let mut done = Reconciled::default();
        let mut seen: HashSet<MessageGroupUuid> = HashSet::new();
        let mut from = None;
        loop {
            let mut tries = Tries::default();
            let (groups, next) = loop {
                match self.rows.groups(from.clone()).await {
                    Ok(page) => break page,
                    Err(error) => tries.wait_out(self, error.into()).await?,
                }
            };
            for group in groups {
                if seen.insert(group) {
                    done.groups += 1;
                    match self.persistently(group).await? {
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

    async fn persistently(&self, group: MessageGroupUuid) -> Result<Result<Option<Effect>, Failed>, EffectError> {
        let mut tries = Tries::default();
        loop {
            let reason = match self.group(group).await {
                Ok(Some(Effect::NobodyThere)) => Effect::NOBODY_THERE.to_owned(),
                Ok(effect) => return Ok(Ok(effect)),
                Err(error) if error.is_passing() => {
                    tries.wait_out(self, error).await?;
                    continue;
                }
                Err(error) => report(&error),
            };
            tracing::warn!(reason, %group, "the group could not be reconciled");
            tries.faults += 1;
            if tries.faults == TRIES_OF_A_FAULT {
                let newest = self.rows.newest_message(group, None).await.ok().flatten();
                return Ok(Err(Failed { group, newest, reason }));
            }
            tokio::time::sleep(tries.backoff.next(self.environment)).await;
        }
    }
}

/// How often something was tried.
#[derive(Default)]
struct Tries {
    outages: u32,
    faults: u32,
    backoff: Backoff,
}

impl Tries {
    /// Waits until the next try; gives up where it should, or where no waiting helps.
    async fn wait_out<R>(&mut self, of: &Reconciler<'_, R>, error: EffectError) -> Result<(), EffectError> {
        self.outages += 1;
        if !error.is_passing() || self.outages >= of.tries_of_an_outage {
            return Err(error);
        }
        Count::Retries.add(1);
        tracing::warn!(error = report(&error), "reconciling waits");
        tokio::time::sleep(self.backoff.next(of.environment)).await;
        Ok(())
    }
}
