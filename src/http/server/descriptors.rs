//! The maximum number of open files of the process, which limits the number of connections.

use crate::config::ConnectionLimits;

/// Number of file descriptors that are reserved for connections to PostgreSQL, listeners and the log.
const RESERVED: usize = 256;

/// Raises the maximum number of open files as far as the connections need it and the operating system allows it.
/// Returns `limits`, with the number of connections reduced to the number of available descriptors. `store_calls` is the
/// maximum number of concurrent calls to DynamoDB, each of which has a connection.
pub fn affordable(mut limits: ConnectionLimits, store_calls: usize) -> ConnectionLimits {
    let reserved = store_calls.saturating_add(RESERVED);
    let Some(files) = raised(limits.connections.saturating_add(reserved)) else { return limits };
    // Even if the process may open very few files, at least half of the descriptors are used for connections.
    let affordable = files.saturating_sub(reserved).max(files / 2);
    if affordable < limits.connections {
        tracing::warn!(
            "MAX_CONNECTIONS is {affordable} instead of {}, because the process may open only {files} files",
            limits.connections
        );
        limits.connections = affordable;
    }
    limits
}

/// Raises the maximum number of open files to `wanted` if possible, and returns it. Returns `None` if no limit is
/// known.
#[cfg(unix)]
fn raised(wanted: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = usize::try_from(limit.current?).ok()?;
    if current >= wanted {
        return Some(current);
    }
    let maximum = limit.maximum.map_or(wanted, |maximum| usize::try_from(maximum).unwrap_or(wanted).min(wanted));
    let raised = Rlimit { current: u64::try_from(maximum).ok(), maximum: limit.maximum };
    Some(if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current })
}

#[cfg(not(unix))]
fn raised(_: usize) -> Option<usize> {
    None
}
