//! Relations of this database and their extensions. Called by `server/table.rs`, `check/`, `reports/` and
//! `admin/`, inside a transaction.

use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys::{self, Datum, Oid};

use super::catalog::{self, Form};
use super::encoding;

// SAFETY: pgrx binds the server's own struct.
unsafe impl Form for pg_sys::FormData_pg_class {
    const CATALOG: Oid = pg_sys::RelationRelationId;
}

/// Finds a relation by name and locks it in ACCESS SHARE mode. Repeats that until the name refers to
/// the locked relation.
pub fn lock_relation(schema: &str, name: &str) -> Option<Oid> {
    let (schema, name) = (pstrdup(schema)?, pstrdup(name)?);
    // SAFETY: two palloc'd C strings, which the node then refers to.
    let range = unsafe { pg_sys::makeRangeVar(schema, name, -1) };
    // SAFETY: a valid RangeVar; missing relations give InvalidOid.
    let oid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            range,
            pg_sys::AccessShareLock as _,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (oid != Oid::INVALID).then_some(oid)
}

/// A relation's present facts in the catalog cache. The transaction's snapshot may be older.
pub struct RelationFacts {
    pub owner: Oid,
    pub kind: char,
    pub persistence: char,
}

pub fn relation_facts(relation: Oid) -> Option<RelationFacts> {
    // SAFETY: a catalog cache look-up.
    let tuple = unsafe {
        pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as _, Datum::from(relation))
    };
    if tuple.is_null() {
        return None;
    }
    // SAFETY: a row of pg_class, held until it is released below.
    let form: &pg_sys::FormData_pg_class = unsafe { catalog::form(tuple) };
    let facts = RelationFacts {
        owner: form.relowner,
        kind: char::from(form.relkind as u8),
        persistence: char::from(form.relpersistence as u8),
    };
    // SAFETY: held since the look-up.
    unsafe { pg_sys::ReleaseSysCache(tuple) };
    Some(facts)
}

/// A relation of this database as "schema.name", in UTF-8. `None` when it is gone.
pub fn relation_name(relation: Oid) -> Option<String> {
    // SAFETY: a catalog cache look-up; NULL, or a palloc'd C string.
    let name = unsafe { pg_sys::get_rel_name(relation) };
    // SAFETY: as above; zero for a relation that is gone.
    let schema = unsafe { pg_sys::get_rel_namespace(relation) };
    // SAFETY: as above.
    let schema = unsafe { pg_sys::get_namespace_name(schema) };
    if name.is_null() || schema.is_null() {
        return None;
    }
    let text = |text: *mut c_char| {
        // SAFETY: a C string that lives as long as the current memory context.
        let text = unsafe { CStr::from_ptr(text) };
        encoding::as_utf8(text.to_bytes(), encoding::of_this_database())
    };
    Some(format!("{}.{}", text(schema), text(name)))
}

/// Whether a table is a member of an extension.
pub fn is_of_extension(table: Oid) -> bool {
    // SAFETY: scans pg_depend within a transaction.
    let extension = unsafe { pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table) };
    extension != Oid::INVALID
}

/// Keeps others from altering an extension, to the end of the transaction.
pub fn lock_extension(extension: Oid) {
    // SAFETY: takes a lock or raises.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::ExtensionRelationId,
            extension,
            0,
            pg_sys::ShareUpdateExclusiveLock as _,
        )
    }
}

fn pstrdup(text: &str) -> Option<*mut c_char> {
    let text = CString::new(text).ok()?;
    // SAFETY: a valid C string; the copy lives in the current memory context.
    Some(unsafe { pg_sys::pstrdup(text.as_ptr()) })
}
