//! Text in UTF-8 or not at all: the elements of an array are taken for UTF-8 unseen by pgrx, and in a
//! database of another encoding they need not be.

use pgrx::datum::Array;

/// Of a row that others wrote: what is not UTF-8 is shown as such.
pub fn lossy(array: Array<&[u8]>) -> Vec<String> {
    array.iter().flatten().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

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
