//! SQL in this server, as the current (elevated) user. Errors of PostgreSQL pass through as such.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiError, SpiHeapTupleData};

use crate::error::{Result, internal};

/// Runs a statement that returns nothing of interest.
pub fn execute(sql: &str, args: &[DatumWithOid]) -> Result<()> {
    Spi::connect_mut(|client| client.update(sql, None, args).map(drop)).map_err(internal)
}

/// Runs a query and maps each row. It sees what this transaction did before.
pub fn rows<T>(
    sql: &str,
    args: &[DatumWithOid],
    map: impl Fn(SpiHeapTupleData) -> std::result::Result<T, SpiError>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| {
        client.update(sql, None, args)?.map(map).collect::<std::result::Result<_, _>>()
    })
    .map_err(internal)
}

/// The values of a query's only column, without NULLs.
pub fn column<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid]) -> Result<Vec<T>> {
    let values = rows(sql, args, |row| row.get::<T>(1))?;
    Ok(values.into_iter().flatten().collect())
}

/// The same for what only reads: takes no transaction id, so it may run every second, and on a
/// standby.
pub fn read<T>(
    sql: &str,
    args: &[DatumWithOid],
    map: impl Fn(SpiHeapTupleData) -> std::result::Result<T, SpiError>,
) -> Result<Vec<T>> {
    Spi::connect(|client| {
        client.select(sql, None, args)?.map(map).collect::<std::result::Result<_, _>>()
    })
    .map_err(internal)
}

/// The same for what a process asks again and again: its plan is made once.
pub fn read_again<T>(
    sql: &str,
    map: impl Fn(SpiHeapTupleData) -> std::result::Result<T, SpiError>,
) -> Result<Vec<T>> {
    thread_local! {
        static PLANS: RefCell<HashMap<String, OwnedPreparedStatement>> = RefCell::default();
    }
    PLANS
        .with_borrow_mut(|plans| {
            Spi::connect(|client| {
                if !plans.contains_key(sql) {
                    plans.insert(sql.to_owned(), client.prepare(sql, &[])?.keep());
                }
                client
                    .select(&plans[sql], None, &[])?
                    .map(map)
                    .collect::<std::result::Result<_, _>>()
            })
        })
        .map_err(internal)
}
