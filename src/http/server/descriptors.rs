//! The maximum number of open files, which limits the connections.

use crate::config::ConnectionLimits;

/// Descriptors for everything else: connections to the stores, the listeners and the log.
const RESERVED: usize = 512;

/// Raises the number of files that the process may open as far as its connections need it, and as far as the system allows
/// it. Returns `limits` with the number of connections for which there are descriptors.
pub fn affordable(mut limits: ConnectionLimits) -> ConnectionLimits {
    let Some(files) = raised(limits.connections.saturating_add(RESERVED)) else { return limits };
    // At least a half is for connections, also where the process may open very few files.
    let affordable = files.saturating_sub(RESERVED).max(files / 2);
    if affordable < limits.connections {
        tracing::warn!(
            "MAX_CONNECTIONS is {affordable} instead of {}, because the process may open only {files} files",
            limits.connections
        );
        limits.connections = affordable;
    }
    limits
}

/// The number of files that the process may open. `None`: no limit is known.
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
