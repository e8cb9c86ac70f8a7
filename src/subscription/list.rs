//! Lists of subscriptions, of all databases. Others wrote these rows, in the encoding of their
//! database: no value may make the list fail.

use std::ffi::CString;

use pgmig_core::conninfo;
use pgmig_core::limits::{PUBLICATIONS, TEXT};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::caller::Caller;
use crate::conninfo::secrecy;
use crate::error::{Result, entry, internal};
use crate::ffi::argument::Text;
use crate::ffi::call::Call;
use crate::ffi::encoding::{self, Encoding};
use crate::ffi::libpq;
use crate::ffi::rows::{self, Stored, StoredRow, Value};

/// Shown instead of a longer text. Native commands store texts of any length.
fn too_long(limit: usize) -> Vec<u8> {
    format!("<longer than {} kB>", limit >> 10).into_bytes()
}

/// A connection string in which only values that are known to be harmless are shown. The string need
/// not be valid UTF-8, and escapes of a URI can stand for any bytes.
#[pg_extern(sql = false)]
fn masked_conninfo(conninfo: Text) -> Vec<u8> {
    if conninfo.size() > TEXT {
        return too_long(TEXT);
    }
    secrecy::concealing(&Some(conninfo), &[], || {
        encoding::converted(&masked(conninfo.bytes()), encoding::of_this_database())
    })
}

fn masked(conninfo: &[u8]) -> Vec<u8> {
    let parsed = CString::new(conninfo).ok().and_then(|text| libpq::parse_conninfo_bytes(&text));
    let Some(parsed) = parsed else { return b"<invalid>".to_vec() };
    conninfo::masked(parsed.iter().map(|(keyword, value)| (keyword.as_str(), value.as_slice())))
}

#[pg_extern(sql = false)]
fn pg_list_all_subscriptions(call: Call) {
    entry(|| list(call))
}

/// The subscriptions of owners whose rights the caller has, as the rows of the running function.
pub fn list(call: Call) -> Result<()> {
    const SUBSCRIPTIONS: &str = "\
        SELECT d.encoding::pg_catalog.oid, s.subdbid, s.subname::pg_catalog.text, s.subowner, \
               s.subenabled, s.subconninfo, s.subslotname::pg_catalog.text, s.subsynccommit, \
               s.subpublications \
          FROM pg_catalog.pg_subscription s \
          LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid \
         WHERE pg_catalog.pg_has_role($1, s.subowner, 'USAGE') \
         ORDER BY s.subdbid, s.subname";
    let caller = Caller::current()?;
    let shown =
        rows::read_stored(SUBSCRIPTIONS, &[caller.oid().into()], shown).map_err(internal)?;
    rows::return_rows(call, &shown);
    Ok(())
}

fn shown(row: &StoredRow) -> Vec<Value> {
    let from = row.oid(1).map_or(0, Oid::to_u32) as Encoding;
    let local = |text: Vec<u8>| encoding::converted(&text, from);
    let text = |column| match row.text(column, TEXT) {
        Stored::Null => None,
        Stored::TooLong => Some(too_long(TEXT)),
        Stored::Value(text) => Some(local(text)),
    };
    let conninfo = match row.text(6, TEXT) {
        Stored::Null => None,
        Stored::TooLong => Some(too_long(TEXT)),
        Stored::Value(conninfo) => Some(local(masked(&conninfo))),
    };
    let publications = match row.texts(9, PUBLICATIONS) {
        Stored::Null => None,
        Stored::TooLong => Some(vec![too_long(PUBLICATIONS)]),
        Stored::Value(names) => Some(names.into_iter().map(local).collect()),
    };
    vec![
        Value::Oid(row.oid(2)),
        Value::Name(text(3)),
        Value::Oid(row.oid(4)),
        Value::Bool(row.bool(5)),
        Value::Text(conninfo),
        Value::Name(text(7)),
        Value::Text(text(8)),
        Value::Texts(publications),
    ]
}
