//! Reports below ERROR. Called by `error.rs`.

use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

/// A level below ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Notice,
    Warning,
    Log,
    /// A line of the server's log that no client gets, whatever its `client_min_messages`.
    LogServerOnly,
}

/// Sends a report. This can raise an ERROR itself, if a text has no equivalent in the client's
/// encoding. pgrx does not guard this call, so the ERROR would skip our destructors, and after a commit
/// record it would stop the whole server.
pub fn send(level: Level, report: ErrorReport) {
    let level = match level {
        Level::Notice => PgLogLevel::NOTICE,
        Level::Warning => PgLogLevel::WARNING,
        Level::Log => PgLogLevel::LOG,
        Level::LogServerOnly => PgLogLevel::LOG_SERVER_ONLY,
    };
    // SAFETY: on the backend's only thread that calls the server. pgrx drops the report before it
    // calls what can raise, and below ERROR the call does not panic.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| report.report(level)) }
}
