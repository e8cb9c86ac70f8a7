//! What others see of the current statement: pg_stat_activity and the server log; and what its client
//! sees of the log. Called by `secrecy.rs` and `auto_explain.rs`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};

use pgrx::PgLogLevel;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::{secrecy, watcher};

thread_local! {
    /// Start of the statement that carries a secret. A statement is known by when it started, so
    /// nothing has to be reset when it ends, in whatever way.
    static SECRET_STATEMENT: Cell<Option<i64>> = const { Cell::new(None) };
    static PLANS_STAY_HERE: Cell<bool> = const { Cell::new(false) };
    static NEXT_HOOK: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

pub fn install_log_hook() {
    // SAFETY: the previous hook, kept to be called.
    let previous = unsafe { pg_sys::emit_log_hook };
    NEXT_HOOK.set(previous);
    // SAFETY: hooks are set by each backend for itself.
    unsafe { pg_sys::emit_log_hook = Some(redact) };
}

/// From here on, to the end of the session, what auto_explain reports goes to the server's log alone.
pub fn keep_plans_from_the_client() {
    PLANS_STAY_HERE.set(true);
}

/// While it lives, reports have no CONTEXT: that of a surrounding function would quote its statement,
/// and the server's own the parameters. A NOTICE for the client alone passes by no hook.
#[must_use]
pub struct WithoutContext(*mut pg_sys::ErrorContextCallback);

impl Drop for WithoutContext {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the ERROR that is on its way has no CONTEXT either; who catches it restores its own
        }
        // SAFETY: the stack as it was when the function was called, whose frames are still there.
        unsafe { pg_sys::error_context_stack = self.0 }
    }
}

/// Marks the running statement: from here on its text appears in no log line and no view.
pub fn hide_statement(instead: &str) -> WithoutContext {
    // SAFETY: reads a backend-local variable.
    SECRET_STATEMENT.set(Some(unsafe { pg_sys::GetCurrentStatementStartTimestamp() }));
    if let Ok(text) = CString::new(instead) {
        // SAFETY: a C string that is copied.
        unsafe {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr())
        };
    }
    // SAFETY: this backend's own stack of callbacks.
    let context = WithoutContext(unsafe { pg_sys::error_context_stack });
    // SAFETY: as above; an empty stack is valid.
    unsafe { pg_sys::error_context_stack = std::ptr::null_mut() };
    context
}

/// Takes the statement out of what is about to be logged. Called by EmitErrorReport (elog.c) before
/// both the server log and the client get the report.
#[pg_guard]
unsafe extern "C-unwind" fn redact(edata: *mut pg_sys::ErrorData) {
    // SAFETY: the hook's argument is valid and this process's own for the time of the call.
    let report = unsafe { &mut *edata };
    if report.elevel >= PgLogLevel::ERROR as i32
        && let Some(subscription) = replicating_for()
    {
        let (message, context) = (bytes(report.message), bytes(report.context));
        watcher::errors::keep(subscription, report.sqlerrcode, message, context);
    }
    redact_report(report);
    if PLANS_STAY_HERE.get() && bytes(report.filename).ends_with(b"auto_explain.c") {
        report.output_to_client = false;
    }
    if let Some(next) = NEXT_HOOK.get() {
        // SAFETY: the hook that was installed before this one, with its own argument.
        unsafe { next(edata) }
    }
}

/// The subscription that this process is a worker of: core's workers carry its oid in their name,
/// "logical replication … for subscription 16400 sync 16388" (launcher.c, 13 to 18).
fn replicating_for() -> Option<u32> {
    // SAFETY: reads a variable of this process.
    let worker = unsafe { pg_sys::MyBgworkerEntry };
    // SAFETY: NULL, or this worker's entry for as long as it lives.
    let worker = unsafe { worker.as_ref() }?;
    if bytes(worker.bgw_library_name.as_ptr()) != b"postgres" {
        return None;
    }
    let name = std::str::from_utf8(bytes(worker.bgw_name.as_ptr())).ok()?;
    let (_, oid) = name.split_once("for subscription ")?;
    oid.split(' ').next()?.parse().ok()
}

fn redact_report(report: &mut pg_sys::ErrorData) {
    // SAFETY: the text of the client's message, NULL in a background worker.
    let statement = bytes(unsafe { pg_sys::debug_query_string });
    let marked = is_marked();
    if marked || secrecy::names_a_secret(statement) {
        report.hide_stmt = true;
        // What surrounding functions and the server add: statements and parameters.
        report.context = std::ptr::null_mut();
        report.internalquery = std::ptr::null_mut();
    }
    if ![pg_sys::LOG, pg_sys::LOG_SERVER_ONLY].contains(&(report.elevel as u32)) {
        return; // the text of an ERROR is ours or PostgreSQL's own
    }
    // log_statement, log_min_duration_statement, auto_explain, pgaudit: text and parameters go.
    if let Some(message) = secrecy::redacted(bytes(report.message), statement, marked) {
        let message = CString::new(message).unwrap_or_default();
        // SAFETY: a copy in the report's own context, which elog.c frees with the report.
        report.message =
            unsafe { pg_sys::MemoryContextStrdup(report.assoc_context, message.as_ptr()) };
        report.detail = std::ptr::null_mut();
        report.detail_log = std::ptr::null_mut();
    }
}

fn is_marked() -> bool {
    // SAFETY: reads a backend-local variable.
    SECRET_STATEMENT.get() == Some(unsafe { pg_sys::GetCurrentStatementStartTimestamp() })
}

fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: NUL-terminated, and alive while the report is being emitted.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}
