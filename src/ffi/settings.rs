//! Configuration parameters beyond pgrx's own wrappers.

use std::ffi::CStr;
use std::time::Duration;

use pgrx::pg_sys;

/// Warns of each unknown parameter below `prefix`.
#[cfg(any(feature = "pg13", feature = "pg14"))]
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: a static C string, only read.
    unsafe { pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr()) }
}

/// Makes an unknown parameter below `prefix` an error.
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: a static C string, copied by the callee.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}

/// Runs `work` with parameters set for its time only. On ERROR the abort of the (sub)transaction
/// restores them, as it does for a function's own SET clause.
pub fn with_settings<R>(parameters: &[(&CStr, &CStr)], work: impl FnOnce() -> R) -> R {
    // SAFETY: opens a nest level, which the close below or the abort ends.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in parameters {
        set(name, value, pg_sys::GucSource::PGC_S_SESSION, pg_sys::GucAction::GUC_ACTION_SAVE);
    }
    let result = work();
    // SAFETY: closes the level that was opened above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// How long the session waits for a lock; `None` without a bound.
pub fn lock_timeout() -> Option<Duration> {
    // SAFETY: reads a configuration variable, in milliseconds.
    let timeout = unsafe { pg_sys::LockTimeout };
    (timeout > 0).then(|| Duration::from_millis(timeout.unsigned_abs().into()))
}

/// The value that RESET would set: that of the files, the database and the role. `None` for a
/// placeholder that only the session has set.
pub fn reset_value(name: &'static CStr) -> Option<String> {
    // SAFETY: a C string; an unknown parameter raises.
    let value = unsafe { pg_sys::GetConfigOptionResetString(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: NUL-terminated, copied before another parameter is asked for.
    Some(unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
}

/// Sets a parameter for the life of this process, over what its database or role sets.
pub fn override_for_process(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucSource::PGC_S_OVERRIDE, pg_sys::GucAction::GUC_ACTION_SET);
}

fn set(
    name: &CStr,
    value: &CStr,
    source: pg_sys::GucSource::Type,
    action: pg_sys::GucAction::Type,
) {
    // SAFETY: C strings that outlive the call; a bad value raises.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            source,
            action,
            true,
            0,
            false,
        );
    }
}
