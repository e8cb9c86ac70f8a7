//! EXPLAIN. Called by `explain.rs`, inside a transaction and as the current user.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::call::Call;
use super::rows;

/// What an EXPLAIN returns, as the rows of the function that is being called: of any size, so they stay
/// in PostgreSQL's own memory. pgrx's own SPI runs a utility statement only where it may take a
/// transaction id, which a standby has none of.
pub fn return_lines(call: Call, explain: &CStr) {
    let store = rows::tuple_store(call);
    Spi::connect(|_| {
        // SAFETY: connected to SPI; a valid C string; raises or returns rows.
        unsafe { pg_sys::SPI_execute(explain.as_ptr(), false, 0) };
        store.put_rows();
    })
}
