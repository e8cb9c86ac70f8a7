//! Text in UTF-8 or not at all: the elements of an array are taken for UTF-8 unseen by pgrx, and in a
//! database of another encoding they need not be.

use pgrx::datum::Array;

use crate::error::{Error, Kind, Result};

/// An argument of type text[].
pub type Texts<'a> = Option<Array<'a, &'a [u8]>>;

/// The same, checked.
pub type Names = Option<Vec<Option<String>>>;

pub fn names(argument: Texts) -> Result<Names> {
    let elements = |array: Array<&[u8]>| -> Result<Vec<Option<String>>> {
        array.iter().map(|element| element.map(utf8).transpose()).collect()
    };
    argument.map(elements).transpose()
}

/// The same of a row that others wrote: what is not UTF-8 is shown as such.
pub fn lossy(array: Array<&[u8]>) -> Vec<String> {
    array.iter().flatten().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn utf8(text: &[u8]) -> Result<String> {
    String::from_utf8(text.to_vec()).map_err(|_| {
        Error::new(
            Kind::FeatureNotSupported,
            "only ASCII is supported where the database is not UTF8",
        )
        .hint("Use names of ASCII characters, or a database with encoding UTF8.")
    })
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
