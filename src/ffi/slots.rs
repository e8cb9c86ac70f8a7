//! The logical replication slots of this cluster, without SQL: the launcher has no database.

use std::ffi::CStr;
use std::sync::Once;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use super::report::{self, Level};

static ONCE: Once = Once::new();

/// A slot's name, padded with zeros.
pub type Name = [u8; 64];

/// The number of `ReplicationSlotControlLock` (lwlocknames.h).
#[cfg(any(
    feature = "pg13",
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
const CONTROL_LOCK: u16 = 37;

/// The logical slots that no walsender uses. On a server with other lock numbers it returns none and
/// logs a line.
pub fn inactive() -> Vec<Name> {
    // SAFETY: a variable of the configuration that is set before any process starts.
    let count = usize::try_from(unsafe { pg_sys::max_replication_slots }).unwrap_or(0);
    // An allocation under the lock would raise if memory ran out.
    let mut names = Vec::with_capacity(count);
    if count == 0 {
        return names; // then the server has no array
    }
    let Some(lock) = control_lock() else { return names };
    // SAFETY: set up in every process before code of ours runs.
    let control = unsafe { pg_sys::ReplicationSlotCtl };
    // SAFETY: as above; an array of `count`, of which the type names one.
    let slots =
        unsafe { &raw const (*control).replication_slots }.cast::<pg_sys::ReplicationSlot>();
    // SAFETY: the server's own lock, released below; nothing in between can raise.
    unsafe { pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_SHARED) };
    for index in 0..count {
        // SAFETY: within the array.
        let slot = unsafe { slots.add(index) };
        // SAFETY: slots are neither made nor dropped while the lock is held.
        let in_use = unsafe { (*slot).in_use };
        // SAFETY: as above. A walsender may change this word meanwhile; the next observation sees it.
        let active_pid = unsafe { &raw const (*slot).active_pid };
        // SAFETY: as above.
        let active_pid = unsafe { active_pid.read_volatile() };
        // SAFETY: fixed while the slot exists.
        let database = unsafe { (*slot).data.database };
        if in_use && active_pid == 0 && database != pg_sys::InvalidOid {
            // SAFETY: as above.
            let name = unsafe { (*slot).data.name };
            names.push(name.data.map(|byte| byte as u8));
        }
    }
    // SAFETY: taken above.
    unsafe { pg_sys::LWLockRelease(lock) };
    names
}

fn control_lock() -> Option<*mut pg_sys::LWLock> {
    // SAFETY: looks up the name of a lock; there are more locks than this number.
    let name = unsafe { pg_sys::GetLWLockIdentifier(pg_sys::PG_WAIT_LWLOCK, CONTROL_LOCK) };
    // SAFETY: a C string that lives as long as the process.
    let name = unsafe { CStr::from_ptr(name) };
    // 13 and later leave out "Lock" at the end (lwlock.c).
    if !name.to_bytes().starts_with(b"ReplicationSlotControl") {
        ONCE.call_once(|| log_other_lock(name));
        return None;
    }
    // SAFETY: set up in every process before code of ours runs.
    let locks = unsafe { pg_sys::MainLWLockArray };
    // SAFETY: there are more locks than this number.
    let lock = unsafe { locks.add(usize::from(CONTROL_LOCK)) };
    // SAFETY: as above; the lock lies within its padding.
    Some(unsafe { &raw mut (*lock).lock })
}

fn log_other_lock(name: &CStr) {
    let message = "unused logical replication slots are not observed";
    let log = ErrorReport::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message, "slots")
        .set_detail(format!(
            "Lock {CONTROL_LOCK} of this server is {}, not ReplicationSlotControl.",
            name.to_string_lossy()
        ))
        .set_hint("Install a build of pgmig_extras for this server's version.");
    report::send(Level::Log, log);
}
