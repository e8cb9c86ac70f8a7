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
    // SAFETY: the array is set up in every process before code of ours runs.
    let lock = unsafe { &raw mut (*pg_sys::MainLWLockArray.add(CONTROL_LOCK)).lock };
    // SAFETY: the server's own lock, released below; nothing in between can raise.
    unsafe { pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_SHARED) };
    for index in 0..count {
        // SAFETY: shared memory that holds `count` slots; they are neither made nor dropped while the
        // lock is held. `active_pid` may change meanwhile, and is read once.
        let slot = unsafe { (*pg_sys::ReplicationSlotCtl).replication_slots.as_ptr().add(index) };
        // SAFETY: as above.
        let (in_use, active_pid) =
            unsafe { ((*slot).in_use, (&raw const (*slot).active_pid).read_volatile()) };
        // SAFETY: as above.
        let data = unsafe { &(*slot).data };
        if in_use && active_pid == 0 && data.database != pg_sys::InvalidOid {
            names.push(data.name.data.map(|byte| byte as u8));
        }
    }
    // SAFETY: taken above.
    unsafe { pg_sys::LWLockRelease(lock) };
    names
}
