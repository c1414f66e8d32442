//! Runs the [repair](super::repair) in one process: watches its lease, takes it, and makes the passes.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ids::{LeaseOwner, StreamArn};
use super::lease::{CounterWatch, LEASE_TIME};
use super::lost_records::LostRecords;
use super::parts::{Left, Parts, sleep};
use super::reconcile::{FailedGroup, Reconciled, Reconciler};
use super::renewal::renew_until_lost;
use super::repair::{Complete, HeldRepair, Pass, Repair, RepairTable, RepairUpdate, Tally};
use super::rows::GroupRows;
use super::set_aside::{SetAsideTable, Subject};
use crate::environment::Environment;
use crate::messages_table::TableError;
use crate::messages_table::keys::messages_pk;
use crate::metrics::{self, Count};
use crate::report;

/// Interval at which each process reads the row of the repair, before jitter. A repair is rare and not urgent, and each read
/// costs a read unit.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Wait before a pass begins. If no process has run for a day, the readers of all shards find their gaps soon after the leases
/// of the dead processes have expired. Because of this wait, one pass covers all these gaps.
const GATHERING: Duration = Duration::from_secs(LEASE_TIME.as_secs() * 3 / 2);

/// What this process knows about the lease of the repair.
#[derive(Debug, Default)]
pub struct RepairWatch {
    /// Time at which the row is read again. `None` before the first read.
    due: Option<Instant>,
    holder: Option<CounterWatch>,
}

impl RepairWatch {
    /// Reads the row of the repair if a read is due. Returns the row if the process `me` should take the lease: a repair is
    /// pending, and no other living process holds the lease.
    pub async fn look<T: RepairTable>(
        &mut self,
        table: &T,
        environment: &dyn Environment,
        me: &LeaseOwner,
        lost_records: &LostRecords,
    ) -> Result<Option<Repair>, TableError> {
        if self.due.is_some_and(|due| Instant::now() < due) {
            return Ok(None);
        }
        let repair = table.repair().await?;
        lost_records.repair_is_pending(repair.is_pending().then_some(repair.requested));
        let now = Instant::now();
        self.due = Some(now + environment.jitter(LOOK_INTERVAL));
        let wall_clock = environment.now().timestamp_millis();
        metrics::repair_pending(repair.pending_since().map(|since| wall_clock.saturating_sub(since)));
        let holder = self.holder.get_or_insert(CounterWatch::new(repair.counter, now));
        holder.observe(repair.counter, now);
        let is_free = repair.owner.as_ref().is_none_or(|owner| owner == me) || holder.is_expired(repair.counter, now);
        Ok((repair.is_pending() && is_free).then_some(repair))
    }
}

/// Repairs under the lease.
pub struct Repairer<'a, S, T, R> {
    pub parts: &'a Parts<S, T, R>,
    /// The stream to which set-aside groups are attributed.
    pub stream: &'a StreamArn,
    pub lease: &'a HeldRepair,
    pub stop: &'a CancellationToken,
}

impl<S, T: RepairTable + SetAsideTable, R: GroupRows> Repairer<'_, S, T, R> {
    /// Repairs and renews the lease until no repair is pending, the process stops or the lease is lost. Releases the lease at the
    /// end. `taken` is the time at which the lease was requested.
    pub async fn hold(&self, taken: Instant) -> Left {
        let Parts { table, environment, health, .. } = self.parts;
        let renew = || self.lease.write(table, &RepairUpdate::Renew);
        health.repair_progressed();
        let left = tokio::select! {
            biased;
            () = renew_until_lost(&**environment, "repair", taken, renew) => Left::Lost,
            ended = self.run() => ended.map_or_else(|left| left, |()| Left::Finished),
        };
        health.repair_left();
        if left != Left::Lost
            && let Err(error) = self.lease.write(table, &RepairUpdate::Release).await
        {
            tracing::warn!(error = report(&error), "releasing the lease of the repair failed");
        }
        left
    }

    /// Makes passes until no repair is pending. Continues a pass that another process has begun. A pass without a finished page
    /// begins again, and then also covers the latest request.
    async fn run(&self) -> Result<(), Left> {
        let mut step = 0;
        loop {
            let Repair { pass, tally, .. } = match self.read().await? {
                repair if repair.is_pending() => repair,
                _ => return Ok(()),
            };
            match pass.filter(|pass| pass.position.is_some()) {
                Some(pass) => {
                    tracing::warn!(
                        request = pass.covers,
                        groups = tally.groups,
                        "continuing a repair of all groups that another process began"
                    );
                    self.pass(pass, tally, &mut step).await?;
                }
                None => {
                    let pass = self.begin(&mut step).await?;
                    self.pass(pass, Tally::default(), &mut step).await?;
                }
            }
        }
    }

    /// Waits for [`GATHERING`], and then begins a pass.
    async fn begin(&self, step: &mut u64) -> Result<Pass, Left> {
        sleep(self.stop, GATHERING).await?;
        let Repair { requested, .. } = self.read().await?;
        tracing::warn!(request = requested, "repairing all groups after a gap");
        let pass = Pass { covers: requested, started_at: self.parts.now(), position: None };
        self.advance(step, &pass, Tally::default()).await?;
        Ok(pass)
    }

    /// Makes a pass over the groups after the position of `pass`. `tally` contains the counts of the groups before it.
    async fn pass(&self, mut pass: Pass, mut tally: Tally, step: &mut u64) -> Result<(), Left> {
        let Parts { rows, appender, environment, .. } = self.parts;
        let (environment, outage_tries) = (&**environment, u32::MAX);
        let reconciler = Reconciler { rows, appender, records_lost: true, environment, outage_tries };
        let mut last = None;
        loop {
            let page = || reconciler.page(pass.position.clone(), last, || self.parts.health.repair_progressed());
            let page = tokio::select! {
                biased;
                // The stored position stays before this page, so the next process repeats the page.
                () = self.stop.cancelled() => return Err(Left::Stopped),
                page = self.retry("reconciling", page) => page?,
            };
            last = page.last;
            self.record(page.done, &mut tally).await?;
            if page.next.is_none() {
                break;
            }
            pass.position = page.next;
            self.advance(step, &pass, tally).await?;
        }
        let complete = Complete { covers: pass.covers, since: pass.started_at, finished_at: self.parts.now() };
        *step += 1;
        self.write(&RepairUpdate::Finish { step: *step, complete, tally }).await?;
        Count::RepairPasses.add(1);
        let Tally { groups, moved, failed } = tally;
        tracing::warn!(request = pass.covers, groups, moved, failed, "all groups repaired");
        Ok(())
    }

    /// Counts the groups of a page, and sets aside those that failed.
    async fn record(&self, page: Reconciled, tally: &mut Tally) -> Result<(), Left> {
        let Reconciled { groups, moved, failed } = page;
        for (count, by) in
            [(Count::RepairGroups, groups), (Count::RepairMoves, moved), (Count::RepairFailures, failed.len())]
        {
            count.add(by);
        }
        tally.groups += groups as u64;
        tally.moved += moved as u64;
        tally.failed += failed.len() as u64;
        for FailedGroup { group, newest, reason } in failed {
            let sk = newest.map(|newest| newest.sort_key.as_str().to_owned()).unwrap_or_default();
            let aside = self.parts.set_aside(self.stream, Subject::Group(group), reason, &messages_pk(group), &sk);
            self.retry("setting a group aside", || self.parts.table.put(&aside)).await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Repair, Left> {
        self.retry("reading the repair", || self.parts.table.repair()).await
    }

    /// Stores that the pass has begun or has reached a position.
    async fn advance(&self, step: &mut u64, pass: &Pass, tally: Tally) -> Result<(), Left> {
        *step += 1;
        self.write(&RepairUpdate::Advance { step: *step, pass: pass.clone(), tally }).await
    }

    /// Writes to the repair. Returns an error that ends the work if another process has the lease.
    async fn write(&self, update: &RepairUpdate) -> Result<(), Left> {
        let write = || self.lease.write(&self.parts.table, update);
        if self.retry("writing the progress of the repair", write).await? { Ok(()) } else { Err(Left::Lost) }
    }

    async fn retry<A, E, F>(&self, call: &str, attempt: impl FnMut() -> F) -> Result<A, Left>
    where
        E: std::error::Error,
        F: Future<Output = Result<A, E>>,
    {
        self.parts.retry(self.stop, call, attempt, || {}).await
    }
}
