//! Creates a logical slot during recovery. Called by `admin/standby_slot.rs`, inside a transaction.

use std::ffi::CStr;

use pgmig_core::lsn::Lsn;
use pgrx::pg_sys;

pub struct Slot<'a> {
    pub name: &'a CStr,
    pub plugin: &'a CStr,
    pub temporary: bool,
    pub two_phase: bool,
}

/// Runs `work`, which makes a slot. An ERROR in it releases the slot that is being made.
pub fn making_a_slot<R>(work: impl FnOnce() -> R) -> R {
    let _released = ReleasedOnError;
    work()
}

/// Creates the slot and returns the LSN at which its changes begin. Waits for the primary's next record
/// of running transactions; interruptible. `None` on majors whose own function does this.
pub fn create_slot(slot: &Slot) -> Option<Lsn> {
    server::create_slot(slot).map(Lsn)
}

/// Releases the slot that is being created, which drops it. PostgreSQL does so when a transaction
/// aborts, but not when a subtransaction does.
struct ReleasedOnError;

impl Drop for ReleasedOnError {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // SAFETY: reads a variable of this process.
        if !unsafe { pg_sys::MyReplicationSlot }.is_null() {
            // SAFETY: held by this process, which holds no lock of the slots where it can fail.
            unsafe { pg_sys::ReplicationSlotRelease() };
        }
    }
}

/// Whether the primary writes what logical decoding needs, as far as this standby has replayed.
pub fn primary_logs_for_decoding() -> bool {
    let mut is_intact = false;
    // SAFETY: set for the life of the process.
    let directory = unsafe { pg_sys::DataDir };
    // SAFETY: the server's own directory; raises or returns a palloc'd copy.
    let control = unsafe { pg_sys::get_controlfile(directory, &mut is_intact) };
    // SAFETY: as above.
    let wal_level = unsafe { (*control).wal_level };
    wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32
}

/// pg_create_logical_replication_slot() of these majors works on a standby too.
#[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
mod server {
    pub fn create_slot(_: &super::Slot) -> Option<u64> {
        None
    }
}

/// pg_create_logical_replication_slot() of these majors refuses a standby. Its parts do not.
#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
mod server {
    use super::*;

    pub fn create_slot(slot: &Slot) -> Option<u64> {
        // SAFETY: reads a variable of this process.
        assert!(unsafe { pg_sys::MyReplicationSlot }.is_null(), "a slot is in use already");
        // SAFETY: raises or returns.
        unsafe { pg_sys::CheckSlotRequirements() };
        acquire(slot);
        let mut routine = pg_sys::XLogReaderRoutine {
            page_read: Some(raw::read_local_xlog_page),
            segment_open: Some(raw::wal_segment_open),
            segment_close: Some(raw::wal_segment_close),
        };
        // SAFETY: with an acquired slot; a valid C string; the routine is copied.
        let context = unsafe {
            pg_sys::CreateInitDecodingContext(
                slot.plugin.as_ptr().cast_mut(),
                std::ptr::null_mut(),
                false,
                0,
                &mut routine,
                None,
                None,
                None,
            )
        };
        // SAFETY: a valid context.
        let _closed = ClosedOnError(unsafe { (*context).reader });
        // SAFETY: as above; waits interruptibly.
        unsafe { pg_sys::DecodingContextFindStartpoint(context) };
        // SAFETY: as above; it is not used after this.
        unsafe { pg_sys::FreeDecodingContext(context) };
        // SAFETY: reads a variable of this process.
        let made = unsafe { pg_sys::MyReplicationSlot };
        // SAFETY: the acquired slot, which only this process changes.
        let lsn = unsafe { (*made).data.confirmed_flush };
        if !slot.temporary {
            // SAFETY: as above.
            unsafe { pg_sys::ReplicationSlotPersist() };
        }
        // SAFETY: as above.
        unsafe { pg_sys::ReplicationSlotRelease() };
        Some(lsn)
    }

    /// Closes the WAL segment that is being read. An abort does not close it.
    struct ClosedOnError(*mut pg_sys::XLogReaderState);

    impl Drop for ClosedOnError {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // SAFETY: its memory lives as long as the statement.
                unsafe { pg_sys::XLogReaderFree(self.0) };
            }
        }
    }

    /// The slot is ephemeral at first, so that an error leaves nothing.
    fn acquire(slot: &Slot) {
        use pg_sys::ReplicationSlotPersistency::*;
        acquire_as(slot, if slot.temporary { RS_TEMPORARY } else { RS_EPHEMERAL });
    }

    #[cfg(feature = "pg13")]
    fn acquire_as(slot: &Slot, kind: pg_sys::ReplicationSlotPersistency::Type) {
        // SAFETY: a valid C string; raises or makes the slot.
        unsafe { pg_sys::ReplicationSlotCreate(slot.name.as_ptr(), true, kind) }
    }

    #[cfg(any(feature = "pg14", feature = "pg15"))]
    fn acquire_as(slot: &Slot, kind: pg_sys::ReplicationSlotPersistency::Type) {
        // SAFETY: a valid C string; raises or makes the slot.
        unsafe { pg_sys::ReplicationSlotCreate(slot.name.as_ptr(), true, kind, slot.two_phase) }
    }

    /// PostgreSQL calls these functions itself, so they must be its own and not pgrx's wrappers.
    mod raw {
        use std::ffi::{c_char, c_int};

        use pgrx::pg_sys::{TimeLineID, XLogReaderState, XLogRecPtr, XLogSegNo};

        unsafe extern "C-unwind" {
            pub fn read_local_xlog_page(
                state: *mut XLogReaderState,
                page: XLogRecPtr,
                length: c_int,
                target: XLogRecPtr,
                buffer: *mut c_char,
            ) -> c_int;
            pub fn wal_segment_open(
                state: *mut XLogReaderState,
                segment: XLogSegNo,
                timeline: *mut TimeLineID,
            );
            pub fn wal_segment_close(state: *mut XLogReaderState);
        }
    }
}
