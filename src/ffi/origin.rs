//! Replication origins and their progress. Called by `commit/`, `subscription/` and `probe/`, inside a
//! transaction.

use std::ffi::{CStr, CString};
use std::mem::offset_of;

use pgmig_core::lsn::Lsn;
use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Oid};

use super::catalog::{self, Form, OpenRelation};

const REPLICATION_ORIGIN: Oid = pg_sys::ReplicationOriginRelationId;

/// The origin's number, the only column of pg_replication_origin whose length is fixed.
#[repr(C)]
struct Number(Oid);

// Its place in the server's own struct.
const _: () = assert!(offset_of!(pg_sys::FormData_pg_replication_origin, roident) == 0);

// SAFETY: the first column, as asserted above, which is NOT NULL.
unsafe impl Form for Number {
    const CATALOG: Oid = REPLICATION_ORIGIN;
}

/// Takes the lock under which origins are dropped, before any is changed. Up to 15 that lock is
/// stronger than the one of the change itself, so two sessions could wait for each other.
pub fn lock_all() {
    catalog::lock_catalog(REPLICATION_ORIGIN, DROP_LOCK);
}

/// What replorigin_drop_by_name (origin.c) takes; in 13 its callers.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
const DROP_LOCK: u32 = pg_sys::ExclusiveLock;
#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
const DROP_LOCK: u32 = pg_sys::RowExclusiveLock;

/// Up to which LSN of its publisher a subscription has applied changes; `None` without an origin, or
/// before the first. Leaves no lock on the catalog behind.
pub fn progress_of_subscription(subscription: Oid) -> Option<Lsn> {
    let name = CString::new(format!("pg_{}", subscription.to_u32())).ok()?;
    // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
    let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
    if origin == 0 {
        return None;
    }
    // SAFETY: reads shared memory under its lock.
    let lsn = unsafe { pg_sys::replorigin_get_progress(origin, false) };
    (lsn != 0).then_some(Lsn(lsn))
}

/// Gives a replication origin another name, which a rollback undoes. Returns its number and the new
/// name; `None` without such an origin. Unlike a query it finds the origin whatever the transaction's
/// snapshot shows.
pub fn rename(name: &str, new_name: impl FnOnce(u16) -> String) -> Option<(u16, String)> {
    const NAME: i16 = 2; // Anum_pg_replication_origin_roname
    let relation = OpenRelation::open(REPLICATION_ORIGIN, pg_sys::RowExclusiveLock);
    let key = name.into_datum()?;
    // SAFETY: the cache's key is a text.
    let old = unsafe { catalog::copy_of_row(pg_sys::SysCacheIdentifier::REPLORIGNAME as _, key) }?;
    // SAFETY: a row of pg_replication_origin.
    let number: &Number = unsafe { catalog::form(old) };
    let number = u16::try_from(number.0.to_u32()).ok()?;
    let new_name = new_name(number);
    let value = new_name.as_str().into_datum()?;
    // SAFETY: its row, and a text for its name; `lock_all` keeps others from changing origins.
    unsafe { relation.update(old, &[(NAME, value)]) };
    Some((number, new_name))
}

/// Up to which LSN of its publisher the origin of this number has applied changes; 0 if nowhere.
pub fn progress(origin: u16) -> Lsn {
    // SAFETY: reads shared memory under its lock.
    Lsn(unsafe { pg_sys::replorigin_get_progress(origin, false) })
}

/// Restores the progress of an origin, also on disk, unless it is further already. Needs no catalog, so
/// it may be called during a rollback.
pub fn restore_progress(origin: u16, progress: Lsn) {
    if self::progress(origin) >= progress {
        return;
    }
    // No local LSN: all that was applied is in the WAL before this, which is flushed below.
    // SAFETY: changes shared memory under its lock and writes WAL, or raises.
    unsafe { pg_sys::replorigin_advance(origin, progress.0, 0, false, true) };
    // SAFETY: reads a variable of this process: the end of the record that was just written.
    let end = unsafe { pg_sys::XactLastRecEnd };
    // SAFETY: a position up to which WAL has been written.
    unsafe { pg_sys::XLogFlush(end) };
}

/// Drops a replication origin and its progress, which a rollback does not bring back.
pub fn drop(name: &str) {
    if let Ok(name) = CString::new(name) {
        drop_if_exists(&name);
    }
}

#[cfg(feature = "pg13")]
fn drop_if_exists(name: &CStr) {
    // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
    let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
    if origin != 0 {
        // SAFETY: an origin that exists.
        unsafe { pg_sys::replorigin_drop(origin, false) }
    }
}

#[cfg(any(
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
fn drop_if_exists(name: &CStr) {
    // SAFETY: a valid C string; a missing origin is fine.
    unsafe { pg_sys::replorigin_drop_by_name(name.as_ptr(), true, false) }
}
