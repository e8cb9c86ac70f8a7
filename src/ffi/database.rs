//! The database of this session, and names of others. Called inside a transaction.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::encoding;

pub fn my_database() -> Oid {
    // SAFETY: set for the life of the process before any function can run.
    unsafe { pg_sys::MyDatabaseId }
}

/// A database's name, as far as it is text here. `None` when it is gone.
pub fn database_name(database: Oid) -> Option<String> {
    let name = database_name_bytes(database)?;
    Some(encoding::as_utf8(&name, encoding::of_this_database()))
}

/// The name as it is stored, in whatever encoding.
pub fn database_name_bytes(database: Oid) -> Option<Vec<u8>> {
    // SAFETY: a catalog look-up; NULL, or a palloc'd C string.
    let name = unsafe { pg_sys::get_database_name(database) };
    if name.is_null() {
        return None;
    }
    // SAFETY: a C string that lives as long as the current memory context.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_bytes().to_vec())
}

/// Refuses what would write, in a read-only transaction or during recovery.
pub fn require_writable(command: &CStr) {
    // SAFETY: raises or returns.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) };
    // SAFETY: raises or returns.
    unsafe { pg_sys::PreventCommandDuringRecovery(command.as_ptr()) };
}
