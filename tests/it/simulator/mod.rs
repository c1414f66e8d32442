//! The real consumer with a simulated stream and simulated tables, on a virtual clock, under all faults that occur in production.
//! A seed decides everything.
//!
//! At the end, the rows must equal those of an oracle: each participant has one row for each group, with the newest message. At
//! each step: no checkpoint is written by a process that does not hold the lease, no record of a child is read before the end of
//! its parent, no list has two rows of a group, and only malformed records are set aside.

mod earlier;
mod gaps;
mod lagging;
mod parts;
mod repair;
mod tables;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use cruddur_messaging::stream::effect::EffectError;
use tokio_util::sync::CancellationToken;

pub use self::parts::Part;
use self::world::SimWorld;

/// Runs only `SIMULATOR_SEED`, or `SIMULATOR_SEEDS` seeds (default 500).
#[test]
fn simulator() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATOR_SEED") {
        // With RUST_LOG, prints the log of the consumers.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
        run(seed);
        return;
    }
    let seeds = number("SIMULATOR_SEEDS").unwrap_or(500);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                        next.store(seeds, Ordering::SeqCst);
                        panic!("to see it again: SIMULATOR_SEED={seed} cargo test --test it simulator");
                    }
                }
            });
        }
    });
}

fn run(seed: u64) {
    let violations = runtime().block_on(workload::run(seed));
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
}

/// The name of the process of [`calm_part`].
pub const PROCESS: &str = "process";

/// The only process of a world without faults.
pub fn calm_part() -> Part {
    let part = Part { world: SimWorld::new(0), process: PROCESS.to_owned() };
    let task = tokio::spawn(std::future::pending::<()>());
    part.world.lock().processes.insert(PROCESS.to_owned(), (task.abort_handle(), CancellationToken::new()));
    part
}

/// On a virtual clock.
pub fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime")
}

/// Only rows on which the transaction is conditional decide what was fed.
#[test]
fn a_replaced_row_that_the_index_still_shows_does_not_decide_what_was_fed() {
    let effect = runtime().block_on(lagging::message_of_a_lost_shard());
    assert!(matches!(effect, Err(EffectError::LeaseLost)), "{effect:?}");
}

/// If nothing is written, no record is lost, whatever happens to the shards.
#[test]
fn silence_in_the_simulator_is_no_gap() {
    let gaps = runtime().block_on(gaps::silence());
    assert!(gaps.is_empty(), "{gaps:#?}");
}

/// Several shards with gaps at once need one repair. However long it takes, the shards are read beside it, so it causes no new
/// gap; and it goes on where a dead process stopped.
#[test]
fn a_repair_that_is_longer_than_the_retention_ends() {
    let state = runtime().block_on(gaps::long_repair());
    assert!(state.violations.is_empty(), "{:#?}", state.violations);
    assert_eq!((state.repair.requested, state.passes), (1, 1), "{:?}", state.repair);
}

/// What is written after a shard has closed is in its child. The time at which the end of the shard is read, or an empty page
/// before the end, says nothing about it.
#[test]
fn a_gap_in_the_child_of_a_shard_that_ended_long_ago_is_found() {
    let state = runtime().block_on(gaps::end_that_is_read_late());
    assert!(state.violations.is_empty(), "{:#?}", state.violations);
    assert_eq!(state.repair.requested, 1);
}
