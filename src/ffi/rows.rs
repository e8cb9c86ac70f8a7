//! The rows of a query as the result of a set-returning function, of whatever types they are.
//! Called by `aiven/` and `plan.rs`.

use std::ffi::c_int;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::SpiError;

/// Runs a query and makes its rows those of the function that is being called, which must have been
/// declared with just these columns (SetSingleFuncCall of funcapi.c, which is of 15, does this too).
pub fn return_query(
    fcinfo: pg_sys::FunctionCallInfo,
    sql: &str,
    args: &[DatumWithOid],
) -> Result<(), SpiError> {
    let store = tuple_store(fcinfo);
    Spi::connect(|client| {
        client.select(sql, None, args)?;
        store.put_rows();
        Ok(())
    })
}

/// Where the rows of a function go that returns all of them at once.
pub struct Store(*mut pg_sys::Tuplestorestate);

impl Store {
    /// Takes in what was executed last by SPI, which has not been left yet.
    pub fn put_rows(&self) {
        // SAFETY: reads a variable of SPI: what was executed last.
        let table = unsafe { pg_sys::SPI_tuptable };
        // SAFETY: the number of its rows.
        let count = unsafe { pg_sys::SPI_processed } as usize;
        // SAFETY: NULL, or a table, which lives until SPI is left.
        let Some(table) = (unsafe { table.as_ref() }) else { return };
        // SAFETY: the table has this many rows.
        let rows = unsafe { std::slice::from_raw_parts(table.vals, count) };
        for row in rows {
            // SAFETY: the store copies the row.
            unsafe { pg_sys::tuplestore_puttuple(self.0, *row) };
        }
    }
}

/// A place for the function's rows, in which its caller will look for them.
pub fn tuple_store(fcinfo: pg_sys::FunctionCallInfo) -> Store {
    // SAFETY: the function manager's own argument, valid during the call.
    let result = unsafe { (*fcinfo).resultinfo }.cast::<pg_sys::ReturnSetInfo>();
    // SAFETY: NULL, or a node, which starts with its tag.
    let is_set =
        !result.is_null() && unsafe { (*result).type_ } == pg_sys::NodeTag::T_ReturnSetInfo;
    assert!(is_set, "called where a set of rows is not expected");
    // SAFETY: the tag says what it is.
    let result = unsafe { &mut *result };
    let modes = pg_sys::SetFunctionReturnMode::SFRM_Materialize as c_int;
    assert!(result.allowedModes & modes != 0, "called where rows are wanted one by one");
    // SAFETY: the caller's own context.
    let memory = unsafe { (*result.econtext).ecxt_per_query_memory };
    // SAFETY: a valid context.
    let before = unsafe { pg_sys::MemoryContextSwitchTo(memory) };
    let mut columns = std::ptr::null_mut();
    // SAFETY: the call's own information, and a place to write to.
    unsafe { pg_sys::get_call_result_type(fcinfo, std::ptr::null_mut(), &mut columns) };
    // SAFETY: reads a setting.
    let memory_limit = unsafe { pg_sys::work_mem };
    // SAFETY: lives in the context that was switched to.
    let store = unsafe { pg_sys::tuplestore_begin_heap(true, false, memory_limit) };
    // SAFETY: what was current before.
    unsafe { pg_sys::MemoryContextSwitchTo(before) };
    result.returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
    result.setResult = store;
    result.setDesc = columns;
    Store(store)
}
