//! Renews a lease while the work under the lease runs.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::LEASE_TIME;
use crate::environment::Environment;
use crate::messages_table::TableError;
use crate::report;

/// Interval between renewals. With jitter, it is at most a third of the lease time.
const RENEW_INTERVAL: Duration = Duration::from_millis(LEASE_TIME.as_millis() as u64 * 2 / 9);

/// Renews a lease by calling `write` until the lease is lost: another process has it, or renewals have failed for so
/// long that another process may have it. `taken` is the time at which the lease was requested, and `what` is its name
/// in the log.
pub async fn renew_until_lost<F>(environment: &dyn Environment, what: &str, taken: Instant, write: impl Fn() -> F)
where
    F: Future<Output = Result<bool, TableError>>,
{
    let mut renewed = taken;
    loop {
        let next = Instant::now() + environment.jitter(RENEW_INTERVAL);
        tokio::time::sleep_until(next.min(renewed + LEASE_TIME)).await;
        let requested = Instant::now();
        match tokio::time::timeout_at(renewed + LEASE_TIME, write()).await {
            Ok(Ok(true)) => renewed = requested,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::warn!(error = report(&error), what, "lease renewal failed, retrying"),
            Err(_) => {}
        }
        if renewed.elapsed() >= LEASE_TIME {
            return;
        }
    }
}
