//! Work in a task of its own.

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Runs `work` in a task of its own. If the returned future is dropped, the task is aborted.
///
/// A future that nothing polls keeps the permits and locks that it has acquired, and its timeouts do not end it. So work that
/// acquires some of them must continue while its caller waits for something else, such as a client that accepts no data.
pub async fn in_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match AbortOnDropHandle::new(tokio::spawn(work.in_current_span())).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the drop of the handle, or the end of the runtime, cancels the task.
            Err(_) => std::future::pending().await,
        },
    }
}
