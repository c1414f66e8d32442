//! Stopping: one token that everything listens to, and a tracker that waits for everything to end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long what runs may take to finish.
pub const GRACE: Duration = Duration::from_secs(8);

/// Owns the background tasks of a process.
#[derive(Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A token that is cancelled when it is time to stop.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that listens to [`Shutdown::token`] and that [`Shutdown::finish`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Tells everything to stop and waits for it; `false` when something did not in time.
    pub async fn finish(&self) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(GRACE, self.tasks.wait()).await.is_ok()
    }
}

/// Waits for Ctrl-C or SIGTERM. A second signal ends the process at once.
pub async fn signal() -> std::io::Result<()> {
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
