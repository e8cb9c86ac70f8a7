//! SQL in this server, with the rights of the current (elevated) user. PostgreSQL's own errors are
//! raised as they are.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiError, SpiHeapTupleData};

use crate::error::{Error, Kind, Result, internal};

/// What reading a row gives.
pub type RowResult<T> = std::result::Result<T, RowError>;

/// Why a row cannot be read. PostgreSQL's own errors are raised, and are none of these.
pub enum RowError {
    Spi(SpiError),
    /// A column, counted from 1, that is never NULL unless the catalog or the query is wrong.
    Null(usize),
}

impl From<SpiError> for RowError {
    fn from(error: SpiError) -> Self {
        Self::Spi(error)
    }
}

impl RowError {
    fn of(self, sql: &str) -> Error {
        match self {
            Self::Spi(error) => internal(error),
            Self::Null(column) => {
                Error::new(Kind::Internal, format!("column {column} of a query is NULL"))
                    .detail(format!("The query is: {sql}"))
            }
        }
    }
}

/// The value of a column that is never NULL.
pub fn not_null<T: FromDatum + IntoDatum>(row: &SpiHeapTupleData, column: usize) -> RowResult<T> {
    row.get(column)?.ok_or(RowError::Null(column))
}

/// Runs a statement that returns nothing of interest.
pub fn execute(sql: &str, args: &[DatumWithOid]) -> Result<()> {
    Spi::connect_mut(|client| client.update(sql, None, args).map(drop)).map_err(internal)
}

/// Runs a query and maps each row. The query sees earlier changes of this transaction.
pub fn rows<T>(
    sql: &str,
    args: &[DatumWithOid],
    map: impl Fn(SpiHeapTupleData) -> RowResult<T>,
) -> Result<Vec<T>> {
    Spi::connect_mut(|client| client.update(sql, None, args)?.map(map).collect::<RowResult<_>>())
        .map_err(|error: RowError| error.of(sql))
}

/// The values of a query's only column, without NULLs.
pub fn column<T: FromDatum + IntoDatum>(sql: &str, args: &[DatumWithOid]) -> Result<Vec<T>> {
    let values = rows(sql, args, |row| Ok(row.get::<T>(1)?))?;
    Ok(values.into_iter().flatten().collect())
}

/// The same for a query that only reads. It takes no transaction id, so it may run every second, and on
/// a standby.
pub fn read<T>(
    sql: &str,
    args: &[DatumWithOid],
    map: impl Fn(SpiHeapTupleData) -> RowResult<T>,
) -> Result<Vec<T>> {
    Spi::connect(|client| client.select(sql, None, args)?.map(map).collect::<RowResult<_>>())
        .map_err(|error: RowError| error.of(sql))
}

/// The same for a query that a process repeats: its plan is made once.
pub fn read_again<T>(sql: &str, map: impl Fn(SpiHeapTupleData) -> RowResult<T>) -> Result<Vec<T>> {
    thread_local! {
        static PLANS: RefCell<HashMap<String, OwnedPreparedStatement>> = RefCell::default();
    }
    PLANS
        .with_borrow_mut(|plans| {
            Spi::connect(|client| {
                if !plans.contains_key(sql) {
                    plans.insert(sql.to_owned(), client.prepare(sql, &[])?.keep());
                }
                client.select(&plans[sql], None, &[])?.map(map).collect::<RowResult<_>>()
            })
        })
        .map_err(|error: RowError| error.of(sql))
}
