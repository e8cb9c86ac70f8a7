//! EXPLAIN. Called by `explain.rs`, inside a transaction and as the current user.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// What an EXPLAIN returns, row by row. pgrx's own SPI runs a utility statement only where it may take
/// a transaction id, which a standby has none of.
pub fn lines(explain: &CStr) -> Vec<Vec<u8>> {
    Spi::connect(|_| {
        // SAFETY: connected to SPI; a valid C string; raises or returns rows.
        unsafe { pg_sys::SPI_execute(explain.as_ptr(), false, 0) };
        // SAFETY: reads a variable of SPI: what was executed last.
        let table = unsafe { pg_sys::SPI_tuptable };
        // SAFETY: the number of its rows.
        let count = unsafe { pg_sys::SPI_processed } as usize;
        // SAFETY: NULL, or a table, which lives until SPI is left.
        let Some(table) = (unsafe { table.as_ref() }) else { return Vec::new() };
        // SAFETY: it has that many rows.
        let rows = unsafe { std::slice::from_raw_parts(table.vals, count) };
        rows.iter().filter_map(|row| first_column(*row, table.tupdesc)).collect()
    })
}

fn first_column(row: pg_sys::HeapTuple, description: pg_sys::TupleDesc) -> Option<Vec<u8>> {
    // SAFETY: a row with its own description; a copy in SPI's memory, or NULL.
    let value = unsafe { pg_sys::SPI_getvalue(row, description, 1) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a valid C string.
    Some(unsafe { CStr::from_ptr(value) }.to_bytes().to_vec())
}
