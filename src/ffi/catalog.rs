//! Reading catalogs whole, and changing rows of them, without SQL. Called by its neighbours, inside a
//! transaction.

use std::ffi::c_int;

use pgrx::pg_sys::{self, Datum, Oid};

/// The fixed columns of a catalog.
///
/// # Safety
/// The type has the layout of the catalog's first columns on this major, and none of them is ever NULL.
pub(super) unsafe trait Form {
    const CATALOG: Oid;
}

/// The fixed columns of a row (GETSTRUCT, htup_details.h).
///
/// # Safety
/// `tuple` is a row of `F::CATALOG` and stays valid for `'a`.
pub(super) unsafe fn form<'a, F: Form>(tuple: pg_sys::HeapTuple) -> &'a F {
    // SAFETY: a valid tuple has a header.
    let header = unsafe { (*tuple).t_data };
    // SAFETY: as above.
    let offset = usize::from(unsafe { (*header).t_hoff });
    // SAFETY: the columns lie within the tuple.
    let columns = unsafe { header.cast::<u8>().add(offset) };
    // SAFETY: of this layout, and aligned as the server's own struct is.
    unsafe { &*columns.cast() }
}

/// Reads a catalog whole. Leaves no lock on it behind.
pub(super) fn scan<F: Form, T>(map: impl Fn(&F) -> T) -> Vec<T> {
    let relation = OpenRelation::open(F::CATALOG, pg_sys::AccessShareLock);
    // SAFETY: an open catalog, no keys; a catalog snapshot is taken.
    let scan = unsafe {
        pg_sys::systable_beginscan(
            relation.0,
            Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        )
    };
    let mut found = Vec::new();
    loop {
        // SAFETY: the scan that was begun above.
        let tuple = unsafe { pg_sys::systable_getnext(scan) };
        if tuple.is_null() {
            break;
        }
        // SAFETY: a row of the catalog, valid until the next step of the scan.
        found.push(map(unsafe { form(tuple) }));
    }
    // SAFETY: ends the scan that was begun above.
    unsafe { pg_sys::systable_endscan(scan) };
    found
}

/// Locks a catalog to the end of the transaction.
pub(super) fn lock_catalog(relation: Oid, mode: u32) {
    // SAFETY: takes a lock or raises.
    unsafe { pg_sys::LockRelationOid(relation, mode as _) }
}

/// A copy of a catalog's current row in the current memory context.
///
/// # Safety
/// `key` has the type of the cache's key.
pub(super) unsafe fn copy_of_row(cache: c_int, key: Datum) -> Option<pg_sys::HeapTuple> {
    let none = Datum::null();
    // SAFETY: a catalog cache look-up; the key's type is the caller's word.
    let row = unsafe { pg_sys::SearchSysCacheCopy(cache, key, none, none, none) };
    (!row.is_null()).then_some(row)
}

/// A catalog, open and locked; both end with it, as core does for catalogs.
pub(super) struct OpenRelation(pub(super) pg_sys::Relation, u32);

impl OpenRelation {
    pub(super) fn open(oid: Oid, lock: u32) -> Self {
        // SAFETY: opens or raises.
        Self(unsafe { pg_sys::table_open(oid, lock as _) }, lock)
    }

    /// Replaces columns, by their numbers, of a row of this catalog.
    ///
    /// # Safety
    /// `old` is a copy of a row of this catalog, which is open in ROW EXCLUSIVE mode and whose object the
    /// caller has locked. The values have the types of their columns.
    pub(super) unsafe fn update(&self, old: pg_sys::HeapTuple, columns: &[(i16, Datum)]) {
        let mut numbers: Vec<i32> = columns.iter().map(|(number, _)| i32::from(*number)).collect();
        let mut values: Vec<Datum> = columns.iter().map(|(_, value)| *value).collect();
        let nulls = vec![false; values.len()];
        // SAFETY: the relation is open.
        let description = unsafe { (*self.0).rd_att };
        // SAFETY: three arrays of one length; the rest is the caller's word.
        let new = unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                old,
                description,
                numbers.len() as i32,
                numbers.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_ptr().cast_mut(),
            )
        };
        // SAFETY: the new version of the row at the old one's place.
        let place = unsafe { &raw mut (*new).t_self };
        // SAFETY: the caller's word.
        unsafe { pg_sys::CatalogTupleUpdate(self.0, place, new) };
        // SAFETY: makes the change visible to the rest of this transaction.
        unsafe { pg_sys::CommandCounterIncrement() };
    }
}

impl Drop for OpenRelation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the resource owner closes it
        }
        // SAFETY: opened and locked above.
        unsafe { pg_sys::table_close(self.0, self.1 as _) }
    }
}

/// Calls what pgrx does not bind, and so does not guard: an ERROR becomes a panic.
///
/// # Safety
/// `call` owns nothing and does not panic.
pub(super) unsafe fn guarded(call: impl FnOnce()) {
    // SAFETY: on the backend's only thread that calls the server; the rest is the caller's word.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
