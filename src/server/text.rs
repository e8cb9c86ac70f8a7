//! Text of this database in UTF-8. pgrx takes every text for UTF-8, and a database of another encoding has
//! none: such columns are read as bytes.

use pgrx::spi::SpiHeapTupleData;

use super::query::{self, RowResult};

/// SQL for a text column as bytes of UTF-8. Without an encoding nothing can be converted.
pub fn as_utf8(column: &str) -> String {
    format!(
        "pg_catalog.convert_to({column}, CASE pg_catalog.getdatabaseencoding() \
         WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
    )
}

/// Reads such bytes.
pub fn from_bytes(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of such a column that is never NULL.
pub fn not_null(row: &SpiHeapTupleData, column: usize) -> RowResult<String> {
    let bytes: Vec<u8> = query::not_null(row, column)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
