//! EXPLAIN. Called by `admin/explain.rs`, inside a transaction and as the current user.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::call::Call;
use super::rows;

/// Returns the output of an EXPLAIN as the rows of the running function. It can have any size, so it
/// stays in PostgreSQL's memory. pgrx's SPI runs a utility statement only if it may assign a
/// transaction id, which a standby cannot.
pub fn return_lines(call: Call, explain: &CStr) {
    let store = rows::tuple_store(call);
    Spi::connect(|_| {
        // SAFETY: connected to SPI; a valid C string; raises or returns rows.
        unsafe { pg_sys::SPI_execute(explain.as_ptr(), false, 0) };
        store.put_rows();
    })
}
