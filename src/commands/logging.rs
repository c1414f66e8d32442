//! Starts the log with the log settings of the command line.

use std::sync::OnceLock;

use crate::telemetry::{self, LogSettings, TraceSettings, Traces};

/// The log settings. They are set once, before the command runs.
static SETTINGS: OnceLock<LogSettings> = OnceLock::new();

/// Stores the log settings for [`start`] and [`start_with_traces`].
pub fn configure(settings: LogSettings) {
    let _ = SETTINGS.set(settings);
}

/// Starts the log on standard error. `default` is the filter if `RUST_LOG` is not set.
pub fn start(default: &str) -> anyhow::Result<()> {
    telemetry::start(SETTINGS.get().cloned().unwrap_or_default(), default, None).map(drop)
}

/// Starts the log like [`start`], and the export of traces if `traces` configures one.
pub fn start_with_traces(default: &str, traces: &TraceSettings) -> anyhow::Result<Traces> {
    telemetry::start(SETTINGS.get().cloned().unwrap_or_default(), default, Some(traces))
}
