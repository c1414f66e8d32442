//! The real planner, lease logic, effect and consumer against a simulated stream, lease table and messages table, on a
//! virtual clock, under everything that goes wrong in the field. A seed decides all of it.
//!
//! When it has run dry, every participant's row must be what an oracle says: the newest message, one row a group. At
//! every step: no checkpoint by a process that does not hold the lease, no record of a child before its parent's end,
//! never two rows of a group in one list, and nothing set aside but what is malformed.

mod parts;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `SIMULATOR_SEED` alone, or `SIMULATOR_SEEDS` seeds (500 when not given).
#[test]
fn simulator() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATOR_SEED") {
        // With RUST_LOG, what the consumers say of it.
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

/// On a virtual clock.
fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime")
}

/// Where nothing is written no record is lost, however many shards come and go.
#[test]
fn silence_in_the_simulator_is_no_gap() {
    let gaps = runtime().block_on(workload::silence());
    assert!(gaps.is_empty(), "{gaps:#?}");
}
