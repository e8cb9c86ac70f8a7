//! Texts of this database in UTF-8. pgrx does not validate texts as UTF-8, and databases have other
//! encodings, so such columns are read as bytes.

use pgrx::spi::SpiHeapTupleData;

use super::query::{self, RowResult};

/// SQL that converts a text column to bytes of UTF-8. With SQL_ASCII nothing can be converted.
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
