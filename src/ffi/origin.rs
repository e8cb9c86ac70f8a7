//! Replication origins and their progress. Called by `commit/`, `subscription/` and `probe/`, inside a
//! transaction.

use std::ffi::CString;

use pgrx::IntoDatum;
use pgrx::pg_sys::{self, Oid};

use super::catalog::{self, Form, OpenRelation};

/// ReplicationOriginRelationId (pg_replication_origin.h); pgrx does not bind it.
const REPLICATION_ORIGIN: Oid = Oid::from_u32(6000);

/// The first column of pg_replication_origin: the origin's number.
#[repr(C)]
struct Number(Oid);

// SAFETY: pg_replication_origin.h, 13 to 18.
unsafe impl Form for Number {
    const CATALOG: Oid = REPLICATION_ORIGIN;
}

/// Takes the lock under which origins are dropped before changing any: up to 15 a stronger one than
/// the change itself would take, so that two sessions would wait for each other.
pub fn lock_all() {
    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
    catalog::lock_catalog(REPLICATION_ORIGIN, pg_sys::ExclusiveLock);
    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
    catalog::lock_catalog(REPLICATION_ORIGIN, pg_sys::RowExclusiveLock);
}

/// Up to which LSN of its publisher a subscription has applied changes; `None` without an origin, or
/// before the first. Leaves no lock on the catalog behind.
pub fn progress_of_subscription(subscription: Oid) -> Option<u64> {
    let name = CString::new(format!("pg_{}", subscription.to_u32())).ok()?;
    // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
    let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
    if origin == 0 {
        return None;
    }
    // SAFETY: reads shared memory under its lock.
    Some(unsafe { pg_sys::replorigin_get_progress(origin, false) }).filter(|lsn| *lsn != 0)
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
pub fn progress(origin: u16) -> u64 {
    // SAFETY: reads shared memory under its lock.
    unsafe { pg_sys::replorigin_get_progress(origin, false) }
}

/// Puts the progress of an origin back, on disk too, unless it is further already. Needs no catalog,
/// so it may be called while a transaction is rolled back.
pub fn restore_progress(origin: u16, progress: u64) {
    if self::progress(origin) >= progress {
        return;
    }
    // No local LSN: all that was applied is in the WAL before this, which is flushed below.
    // SAFETY: changes shared memory under its lock and writes WAL, or raises.
    unsafe { pg_sys::replorigin_advance(origin, progress, 0, false, true) };
    // SAFETY: reads a variable of this process: the end of the record that was just written.
    let end = unsafe { pg_sys::XactLastRecEnd };
    // SAFETY: a position up to which WAL has been written.
    unsafe { pg_sys::XLogFlush(end) };
}

/// Drops a replication origin and its progress, which a rollback does not bring back.
pub fn drop(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    #[cfg(any(
        feature = "pg14",
        feature = "pg15",
        feature = "pg16",
        feature = "pg17",
        feature = "pg18"
    ))]
    // SAFETY: a valid C string; a missing origin is fine.
    unsafe {
        pg_sys::replorigin_drop_by_name(name.as_ptr(), true, false)
    }
    #[cfg(feature = "pg13")]
    {
        // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
        let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
        if origin != 0 {
            // SAFETY: an origin that exists.
            unsafe { pg_sys::replorigin_drop(origin, false) }
        }
    }
}
