//! The logical replication slots of this cluster, without SQL: the launcher has no database.

use pgrx::pg_sys;

/// A slot's name, padded with zeros.
pub type Name = [u8; 64];

/// `ReplicationSlotControlLock` (lwlocknames.h), the same number from 13 to 18.
const CONTROL_LOCK: usize = 37;

/// The logical slots that no walsender uses.
pub fn inactive() -> Vec<Name> {
    // SAFETY: a variable of the configuration that is set before any process starts.
    let count = usize::try_from(unsafe { pg_sys::max_replication_slots }).unwrap_or(0);
    // What is allocated under the lock would raise there if memory ran out.
    let mut names = Vec::with_capacity(count);
    if count == 0 {
        return names; // then the server has no array
    }
    let lock = control_lock();
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
        let active_pid = unsafe { (&raw const (*slot).active_pid).read_volatile() };
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

fn control_lock() -> *mut pg_sys::LWLock {
    // SAFETY: set up in every process before code of ours runs.
    let locks = unsafe { pg_sys::MainLWLockArray };
    // SAFETY: there are more locks than this number.
    let lock = unsafe { locks.add(CONTROL_LOCK) };
    // SAFETY: as above; the lock lies within its padding.
    unsafe { &raw mut (*lock).lock }
}
