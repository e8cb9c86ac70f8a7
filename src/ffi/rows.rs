//! Stored rows, and rows as the result of a function, of any type and encoding. The columns of returned
//! rows are compared with the function's declaration. Called by every function that returns rows.

use std::ffi::{c_char, c_int};
use std::marker::PhantomData;

use pgmig_core::lsn::Lsn;
use pgrx::datum::{Array, DatumWithOid, Interval};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use pgrx::{AllocatedByRust, PgTupleDesc};

use super::argument;
use super::call::Call;
use super::lsn::{self, PgLsn};

/// Runs a query and returns its rows as those of the running function (as SetSingleFuncCall of
/// funcapi.c does since 15).
pub fn return_query(call: Call, sql: &str, args: &[DatumWithOid]) -> Result<(), SpiError> {
    let store = tuple_store(call);
    Spi::connect(|client| {
        client.select(sql, None, args)?;
        store.put_rows();
        Ok(())
    })
}

/// Receives the rows of a function that returns all of them at once.
pub struct Store<'a> {
    rows: *mut pg_sys::Tuplestorestate,
    columns: pg_sys::TupleDesc,
    call: PhantomData<Call<'a>>,
}

impl Store<'_> {
    /// Adds the rows of the query that SPI executed last. SPI must still be connected.
    pub fn put_rows(&self) {
        let rows = just_executed();
        if let Some(row) = rows.first() {
            check_types(self.columns, &types(row.columns));
        }
        for row in rows {
            // SAFETY: the store copies the row, which has the types of its columns.
            unsafe { pg_sys::tuplestore_puttuple(self.rows, row.tuple) };
        }
    }

    fn put(&self, row: &[Value]) {
        check_types(self.columns, &row.iter().map(Value::type_oid).collect::<Vec<_>>());
        let datums: Vec<Option<Datum>> = row.iter().map(Value::datum).collect();
        let mut nulls: Vec<bool> = datums.iter().map(Option::is_none).collect();
        let mut values: Vec<Datum> =
            datums.into_iter().map(|datum| datum.unwrap_or(Datum::null())).collect();
        let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
        // SAFETY: values of the types that the description has; the store copies them.
        unsafe { pg_sys::tuplestore_putvalues(self.rows, self.columns, values, nulls) };
    }
}

/// The types of a row's columns.
fn types(columns: pg_sys::TupleDesc) -> Vec<Oid> {
    // SAFETY: a valid description.
    let count = unsafe { (*columns).natts };
    // SAFETY: as above; the columns are counted from 1.
    (1..=count).map(|column| unsafe { pg_sys::SPI_gettypeid(columns, column) }).collect()
}

/// Compares types with the function's declaration. The scripts in sql/ declare the columns, and nothing
/// else connects them with the code.
fn check_types(columns: pg_sys::TupleDesc, found: &[Oid]) {
    assert!(types(columns) == found, "the function is declared with other columns than it returns");
}

/// Runs a query and maps each row. A value is not read before it is asked for.
pub fn read_stored<T>(
    sql: &str,
    args: &[DatumWithOid],
    map: impl Fn(&StoredRow) -> T,
) -> Result<Vec<T>, SpiError> {
    Spi::connect(|client| {
        client.select(sql, None, args)?;
        Ok(just_executed().iter().map(map).collect())
    })
}

/// The rows of the query that SPI executed last. They are valid until SPI is left.
fn just_executed() -> Vec<StoredRow> {
    // SAFETY: reads a variable of SPI: what was executed last.
    let table = unsafe { pg_sys::SPI_tuptable };
    // SAFETY: NULL, or a table, which lives until SPI is left.
    let Some(table) = (unsafe { table.as_ref() }) else { return Vec::new() };
    // SAFETY: the table has this many rows.
    let tuples = unsafe { std::slice::from_raw_parts(table.vals, table.numvals as usize) };
    tuples.iter().map(|tuple| StoredRow { tuple: *tuple, columns: table.tupdesc }).collect()
}

/// A value that is read only if it is short, because others may have stored any amount.
pub enum Stored<T> {
    Null,
    TooLong,
    Value(T),
}

pub struct StoredRow {
    tuple: pg_sys::HeapTuple,
    columns: pg_sys::TupleDesc,
}

/// Columns are counted from 1.
impl StoredRow {
    /// The value of a column that is of this type.
    fn datum(&self, column: c_int, type_oid: Oid) -> Option<Datum> {
        // SAFETY: a row's description; a column that there is not has no type.
        let found = unsafe { pg_sys::SPI_gettypeid(self.columns, column) };
        assert!(found == type_oid, "the query has another type in column {column}");
        let mut is_null = false;
        // SAFETY: a row of a query with its description; the value lies in the row.
        let datum =
            unsafe { pg_sys::SPI_getbinval(self.tuple, self.columns, column, &mut is_null) };
        (!is_null).then_some(datum)
    }

    pub fn oid(&self, column: c_int) -> Option<Oid> {
        // SAFETY: a column of type oid.
        self.datum(column, pg_sys::OIDOID)
            .and_then(|datum| unsafe { Oid::from_datum(datum, false) })
    }

    pub fn bool(&self, column: c_int) -> Option<bool> {
        // SAFETY: a column of type boolean.
        self.datum(column, pg_sys::BOOLOID)
            .and_then(|datum| unsafe { bool::from_datum(datum, false) })
    }

    /// A text of whatever encoding.
    pub fn text(&self, column: c_int, longest: usize) -> Stored<Vec<u8>> {
        let datum = self.datum(column, pg_sys::TEXTOID);
        // SAFETY: a text.
        datum.map_or(Stored::Null, |datum| unsafe { stored_text(datum, longest) })
    }

    /// The texts of a text[], without its NULLs.
    pub fn texts(&self, column: c_int, longest: usize) -> Stored<Vec<Vec<u8>>> {
        let Some(datum) = self.datum(column, pg_sys::TEXTARRAYOID) else { return Stored::Null };
        // SAFETY: a column of type text[].
        if unsafe { argument::size(datum) } > longest {
            return Stored::TooLong;
        }
        // SAFETY: as above.
        let array = unsafe { Array::<&[u8]>::from_datum(datum, false) };
        let texts = |array: Array<&[u8]>| array.iter().flatten().map(<[u8]>::to_vec).collect();
        array.map(texts).map_or(Stored::Null, Stored::Value)
    }
}

/// # Safety
/// The value is a text.
unsafe fn stored_text(datum: Datum, longest: usize) -> Stored<Vec<u8>> {
    // SAFETY: the caller's word.
    if unsafe { argument::size(datum) } > longest {
        return Stored::TooLong;
    }
    // SAFETY: as above.
    let text = unsafe { <&[u8]>::from_datum(datum, false) };
    text.map_or(Stored::Null, |text| Stored::Value(text.to_vec()))
}

/// A value of a result row, with texts in the database's encoding.
pub enum Value {
    Lsn(Lsn),
    Oid(Option<Oid>),
    Bool(Option<bool>),
    Int4(Option<i32>),
    Int8(Option<i64>),
    /// In microseconds.
    Interval(Option<u64>),
    Timestamp(Option<pg_sys::TimestampTz>),
    Text(Option<Vec<u8>>),
    Name(Option<Vec<u8>>),
    Texts(Option<Vec<Vec<u8>>>),
}

impl Value {
    fn type_oid(&self) -> Oid {
        match self {
            Self::Lsn(_) => lsn::TYPE,
            Self::Oid(_) => pg_sys::OIDOID,
            Self::Bool(_) => pg_sys::BOOLOID,
            Self::Int4(_) => pg_sys::INT4OID,
            Self::Int8(_) => pg_sys::INT8OID,
            Self::Interval(_) => pg_sys::INTERVALOID,
            Self::Timestamp(_) => pg_sys::TIMESTAMPTZOID,
            Self::Text(_) => pg_sys::TEXTOID,
            Self::Name(_) => pg_sys::NAMEOID,
            Self::Texts(_) => pg_sys::TEXTARRAYOID,
        }
    }

    fn datum(&self) -> Option<Datum> {
        match self {
            Self::Lsn(position) => PgLsn(*position).into_datum(),
            Self::Oid(oid) => oid.map(Datum::from),
            Self::Bool(bool) => bool.map(Datum::from),
            Self::Int4(number) => number.map(Datum::from),
            Self::Int8(number) => number.map(Datum::from),
            Self::Interval(micros) => micros.and_then(interval_datum),
            Self::Timestamp(time) => time.map(Datum::from),
            Self::Text(text) => text.as_deref().map(text_datum),
            Self::Name(name) => name.as_deref().map(name_datum),
            Self::Texts(texts) => texts.as_deref().map(texts_datum),
        }
    }
}

fn interval_datum(micros: u64) -> Option<Datum> {
    Interval::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)).into_datum()
}

fn text_datum(text: &[u8]) -> Datum {
    let length = c_int::try_from(text.len()).expect("a text has at most 1 GB");
    // SAFETY: copies so many bytes.
    let text = unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast::<c_char>(), length) };
    Datum::from(text)
}

/// A name, cut to the length that a name may have: a conversion can have made it longer.
fn name_datum(name: &[u8]) -> Datum {
    const SIZE: usize = pg_sys::NAMEDATALEN as usize;
    let padded = [name, &[0; 8]].concat();
    let last = (SIZE - 1) as c_int;
    // SAFETY: so many bytes, valid in the database's encoding.
    let length = unsafe {
        pg_sys::pg_mbcliplen(padded.as_ptr().cast::<c_char>(), name.len() as c_int, last)
    };
    // SAFETY: a place of a name's size, all zero.
    let place = unsafe { pg_sys::palloc0(SIZE) }.cast::<u8>();
    // SAFETY: at most one byte less than the place has.
    unsafe { place.copy_from_nonoverlapping(padded.as_ptr(), length as usize) };
    Datum::from(place)
}

fn texts_datum(texts: &[Vec<u8>]) -> Datum {
    const INT_ALIGNED: c_char = b'i' as c_char;
    let mut elements: Vec<Datum> = texts.iter().map(|text| text_datum(text)).collect();
    // SAFETY: so many values of type text, which are copied.
    let array = unsafe {
        pg_sys::construct_array(
            elements.as_mut_ptr(),
            elements.len() as c_int,
            pg_sys::TEXTOID,
            -1,
            false,
            INT_ALIGNED,
        )
    };
    Datum::from(array)
}

/// The row of a function that returns one.
pub fn row(call: Call, values: &[Value]) -> PgHeapTuple<'static, AllocatedByRust> {
    let columns = result_columns(call);
    check_types(columns, &values.iter().map(Value::type_oid).collect::<Vec<_>>());
    // SAFETY: a description, which is copied.
    let columns = unsafe { PgTupleDesc::from_pg_copy(columns) };
    // SAFETY: values of the types that the description has.
    let row = unsafe { PgHeapTuple::from_datums(columns, values.iter().map(Value::datum)) };
    row.expect("as many values as columns")
}

/// The columns with which the running function is declared: one if it returns no rows but values.
fn result_columns(call: Call) -> pg_sys::TupleDesc {
    let (mut type_oid, mut columns) = (Oid::INVALID, std::ptr::null_mut());
    // SAFETY: the call's own information, and places to write to.
    let class = unsafe { pg_sys::get_call_result_type(call.info(), &mut type_oid, &mut columns) };
    if class == pg_sys::TypeFuncClass::TYPEFUNC_SCALAR {
        return one_column(type_oid);
    }
    assert!(!columns.is_null(), "the function is not declared with the rows that it returns");
    columns
}

fn one_column(type_oid: Oid) -> pg_sys::TupleDesc {
    // SAFETY: allocates in the current memory context.
    let columns = unsafe { pg_sys::CreateTemplateTupleDesc(1) };
    // SAFETY: its only column, with a type that the catalog has.
    unsafe { pg_sys::TupleDescInitEntry(columns, 1, std::ptr::null(), type_oid, -1, 0) };
    columns
}

/// Returns these rows from the running function.
pub fn return_rows(call: Call, rows: &[Vec<Value>]) {
    let store = tuple_store(call);
    rows.iter().for_each(|row| store.put(row));
}

/// Prepares the place in which the caller of the running function looks for its rows.
pub fn tuple_store(call: Call<'_>) -> Store<'_> {
    // SAFETY: the function manager's own argument, valid during the call.
    let result = unsafe { (*call.info()).resultinfo }.cast::<pg_sys::ReturnSetInfo>();
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
    let columns = result_columns(call);
    // SAFETY: reads a setting.
    let memory_limit = unsafe { pg_sys::work_mem };
    // SAFETY: lives in the context that was switched to.
    let store = unsafe { pg_sys::tuplestore_begin_heap(true, false, memory_limit) };
    // SAFETY: what was current before.
    unsafe { pg_sys::MemoryContextSwitchTo(before) };
    result.returnMode = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
    result.setResult = store;
    result.setDesc = columns;
    Store { rows: store, columns, call: PhantomData }
}
