//! Transaction and subtransaction callbacks. Called by `commit/`.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;

use super::report::{self, Level};

/// What happens to the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// After the commit record: nothing may be raised any more. Locks are still held.
    Commit,
    /// After a commit, with all locks released: others do not wait for what is done here.
    Released,
    Abort,
}

/// What happens to a subtransaction, with its own id and its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubEvent {
    Commit { own: u32, parent: u32 },
    Abort { own: u32 },
}

/// The transaction is about to be committed: an ERROR still rolls everything back.
pub struct BeforeCommit(());

/// The server can't take an ERROR now: after a commit record, and during a rollback.
pub struct Ending(());

/// Functions that are called when something happens to a transaction.
#[derive(Clone, Copy)]
pub struct Callbacks {
    pub before_commit: fn(&BeforeCommit),
    /// An ERROR is still possible.
    pub before_prepare: fn(),
    pub event: fn(Event, &Ending),
    pub sub_event: fn(SubEvent, &Ending),
}

thread_local! {
    static CALLBACKS: Cell<Option<Callbacks>> = const { Cell::new(None) };
}

/// Calls these from now on. Once per process.
pub fn install(callbacks: Callbacks) {
    CALLBACKS.set(Some(callbacks));
    // SAFETY: the callback is a static function and needs no argument.
    unsafe { pg_sys::RegisterXactCallback(Some(on_event), std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { pg_sys::RegisterSubXactCallback(Some(on_sub_event), std::ptr::null_mut()) };
    // SAFETY: as above.
    unsafe { pg_sys::RegisterResourceReleaseCallback(Some(on_release), std::ptr::null_mut()) };
}

/// The commit of this transaction waits until it is on disk, whatever synchronous_commit says.
pub fn force_synchronous_commit() {
    // SAFETY: sets a backend-local variable.
    unsafe { pg_sys::ForceSyncCommit() }
}

pub fn current_subtransaction() -> u32 {
    // SAFETY: reads the transaction state.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Runs what may wait before the commit record, where the server's own timer is off: when the time is
/// over, the wait ends as by `statement_timeout`. A timer that still runs, in a procedure, is left alone.
pub fn within<R>(time: Duration, work: impl FnOnce() -> R) -> R {
    let milliseconds = c_int::try_from(time.as_millis().max(1)).unwrap_or(c_int::MAX);
    // SAFETY: reads a variable of this process.
    let is_running = unsafe { server::get_timeout_active(STATEMENT_TIMEOUT) };
    let _timer = (!is_running).then(|| Timer::start(milliseconds));
    work()
}

/// `STATEMENT_TIMEOUT` of utils/timeout.h.
#[cfg(any(
    feature = "pg13",
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
const STATEMENT_TIMEOUT: c_int = 3;

struct Timer;

impl Timer {
    fn start(milliseconds: c_int) -> Self {
        // SAFETY: a timer that every session has registered, which does not run.
        unsafe { server::enable_timeout_after(STATEMENT_TIMEOUT, milliseconds) };
        Self
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: stops the timer; raises nothing, also while an ERROR is on its way.
        unsafe { server::disable_timeout(STATEMENT_TIMEOUT, false) };
    }
}

/// Functions of utils/timeout.h that pgrx does not bind. None of them raises an ERROR.
mod server {
    use super::c_int;

    unsafe extern "C-unwind" {
        pub fn get_timeout_active(id: c_int) -> bool;
        pub fn enable_timeout_after(id: c_int, delay_ms: c_int);
        pub fn disable_timeout(id: c_int, keep_indicator: bool);
    }
}

/// Whether others may wait for the end of this transaction by its id.
pub fn has_id() -> bool {
    // SAFETY: reads a backend-local variable.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

impl BeforeCommit {
    /// Runs SQL, for which no statement's snapshot is left.
    pub fn with_snapshot<R>(&self, work: impl FnOnce() -> R) -> R {
        // SAFETY: in a transaction that is not over yet.
        let snapshot = unsafe { pg_sys::GetTransactionSnapshot() };
        // SAFETY: a valid snapshot, copied by the callee. On ERROR the abort pops it.
        unsafe { pg_sys::PushActiveSnapshot(snapshot) };
        let value = work();
        // SAFETY: pops what was pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
        value
    }

    /// Does again what CommitTransaction (xact.c) does before PRE_COMMIT: what an event trigger of a
    /// statement that ran since then has deferred would be forgotten otherwise.
    pub fn fire_deferred_triggers(&self) {
        loop {
            // SAFETY: between two statements, as CommitTransaction calls it.
            unsafe { pg_sys::AfterTriggerFireDeferred() };
            // SAFETY: as above.
            if !unsafe { pg_sys::PreCommit_Portals(false) } {
                return;
            }
        }
    }
}

impl Ending {
    /// Runs `work`. What was raised, or a panic, comes back as its text.
    pub fn caught(&self, work: impl FnOnce()) -> Result<(), String> {
        let held = InterruptsHeld::now();
        let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
            work();
            Ok(())
        }))
        .catch_others(|error| Err(text(&error)))
        .execute();
        if outcome.is_err() {
            // SAFETY: neither commit nor rollback holds a lightweight lock while it calls back.
            unsafe { pg_sys::LWLockReleaseAll() };
            held.restore();
        }
        outcome
    }
}

fn text(error: &CaughtError) -> String {
    match error {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report.message().to_owned(),
    }
}

/// How often interrupts are held off. An ERROR forgets it (errfinish, elog.c), and the end of a
/// transaction counts on it.
struct InterruptsHeld {
    all: u32,
    query_cancel: u32,
}

impl InterruptsHeld {
    fn now() -> Self {
        // SAFETY: reads a variable of this process.
        let all = unsafe { pg_sys::InterruptHoldoffCount };
        // SAFETY: as above.
        let query_cancel = unsafe { pg_sys::QueryCancelHoldoffCount };
        Self { all, query_cancel }
    }

    fn restore(&self) {
        // SAFETY: sets a variable of this process back.
        unsafe { pg_sys::InterruptHoldoffCount = self.all };
        // SAFETY: as above.
        unsafe { pg_sys::QueryCancelHoldoffCount = self.query_cancel };
    }
}

/// Calls a function that must not raise. A fault of it is logged.
fn tell(what: &str, call: impl FnOnce(Callbacks, &Ending)) {
    let Some(callbacks) = CALLBACKS.get() else { return };
    let ending = Ending(());
    let Err(reason) = ending.caught(|| call(callbacks, &ending)) else { return };
    let _ = ending.caught(|| {
        let text = format!("pgmig_extras failed at the {what} of a transaction: {reason}");
        report::send(Level::Log, ErrorReport::new(INTERNAL_ERROR, text, "pgmig_extras"));
    });
}

const INTERNAL_ERROR: PgSqlErrorCode = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;

#[pg_guard]
unsafe extern "C-unwind" fn on_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let Some(callbacks) = CALLBACKS.get() else { return };
    match event {
        XACT_EVENT_PRE_COMMIT => (callbacks.before_commit)(&BeforeCommit(())),
        XACT_EVENT_PRE_PREPARE => (callbacks.before_prepare)(),
        XACT_EVENT_COMMIT => tell("commit", |it, ending| (it.event)(Event::Commit, ending)),
        XACT_EVENT_ABORT => tell("rollback", |it, ending| (it.event)(Event::Abort, ending)),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_release(
    phase: pg_sys::ResourceReleasePhase::Type,
    is_commit: bool,
    is_top_level: bool,
    _arg: *mut c_void,
) {
    let after_locks = phase == pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS;
    if after_locks && is_commit && is_top_level {
        tell("end", |it, ending| (it.event)(Event::Released, ending));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_sub_event(
    event: pg_sys::SubXactEvent::Type,
    own: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    use pg_sys::SubXactEvent::*;
    match event {
        SUBXACT_EVENT_COMMIT_SUB => {
            tell("release", |it, ending| (it.sub_event)(SubEvent::Commit { own, parent }, ending));
        }
        SUBXACT_EVENT_ABORT_SUB => {
            tell("rollback", |it, ending| (it.sub_event)(SubEvent::Abort { own }, ending));
        }
        _ => {}
    }
}
