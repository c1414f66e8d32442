//! The lifetime of a process: its background tasks, when it stops, and whether it failed.
//!
//! Everything listens to one token. It is cancelled when a signal arrives, or when a critical task ends before its time: a
//! process without its HTTP server or its stream consumer must not look alive.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long the tasks may take to finish after the stop.
pub const GRACE: Duration = Duration::from_secs(8);

/// Owns the background tasks of a process.
#[derive(Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
    failure: Arc<OnceLock<CriticalTaskError>>,
}

/// A critical task ended before shutdown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {task} {problem}, so the process stops")]
pub struct CriticalTaskError {
    task: &'static str,
    problem: String,
}

impl Shutdown {
    /// A token that is cancelled when the process stops.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits until the process stops.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Runs a task that listens to [`Shutdown::token`]. [`Shutdown::finish`] waits for it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Keeps [`Shutdown::finish`] waiting until the returned value is dropped.
    pub fn unfinished(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Runs a task without which the process is useless. If it panics, fails or ends before the stop, the process stops with an
    /// error that has the `name` of the task.
    pub fn spawn_critical<E: std::error::Error>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let problem = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if this.stop.is_cancelled() => return,
                Ok(Ok(())) => "ended unexpectedly".to_owned(),
                Ok(Err(error)) => format!("failed ({})", crate::report(&error)),
                Err(_) => "panicked".to_owned(),
            };
            let error = CriticalTaskError { task: name, problem };
            tracing::error!(task = name, error = error.to_string(), "a critical task ended, stopping the process");
            // If several tasks end, the first one is the cause.
            let _ = this.failure.set(error);
            this.stop.cancel();
        });
    }

    /// Waits until the process must stop: for a signal or for the end of a critical task.
    pub async fn requested(&self) -> std::io::Result<()> {
        tokio::select! {
            signal = signal() => signal,
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// Stops all tasks and waits for them. Returns `false` if some of them did not finish within [`GRACE`].
    pub async fn finish(&self) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(GRACE, self.tasks.wait()).await.is_ok();
        if !finished {
            tracing::warn!("some tasks did not finish within {} seconds", GRACE.as_secs());
        }
        finished
    }

    /// The critical task that ended before the stop, if there is one.
    pub fn failure(&self) -> Result<(), CriticalTaskError> {
        self.failure.get().cloned().map_or(Ok(()), Err)
    }
}

/// Waits for Ctrl-C or SIGTERM. A second signal ends the process at once.
async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await?;
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;

    async fn outcome_of<E: std::error::Error>(
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), String> {
        let shutdown = Shutdown::default();
        shutdown.spawn_critical("test task", task);
        shutdown.requested().await.expect("a signal handler");
        assert!(shutdown.finish().await);
        shutdown.failure().map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_panics_or_fails_stops_the_process_and_is_named() {
        let ended = outcome_of(async { Ok::<(), Infallible>(()) }).await;
        assert_eq!(ended, Err("the test task ended unexpectedly, so the process stops".to_owned()));
        let failed = outcome_of(async { Err(io::Error::other("no descriptors")) }).await;
        assert_eq!(failed, Err("the test task failed (no descriptors), so the process stops".to_owned()));
        async fn panicking() -> Result<(), Infallible> {
            panic!("a bug")
        }
        let panicked = outcome_of(panicking()).await;
        assert_eq!(panicked, Err("the test task panicked, so the process stops".to_owned()));
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_after_the_stop_is_no_error() {
        let shutdown = Shutdown::default();
        let stop = shutdown.token();
        shutdown.spawn_critical("test task", async move {
            stop.cancelled().await;
            Ok::<(), Infallible>(())
        });
        assert!(shutdown.finish().await);
        assert_eq!(shutdown.failure(), Ok(()));
    }
}
