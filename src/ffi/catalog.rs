//! Catalog changes that no SQL statement offers to a function, and the locks around them. Called by
//! `subscription/` and `table.rs`, inside a transaction and as a superuser.

use std::ffi::{CString, c_char, c_int};

use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{FromDatum, IntoDatum, PgLogLevel, PgSqlErrorCode};

use super::encoding;

// Oids of catalogs that pgrx does not bind (pg_subscription.h, pg_subscription_rel.h,
// pg_event_trigger.h, pg_replication_origin.h).
pub const SUBSCRIPTION: Oid = Oid::from_u32(6100);
const SUBSCRIPTION_REL: Oid = Oid::from_u32(6102);
const EVENT_TRIGGER: Oid = Oid::from_u32(3466);
const REPLICATION_ORIGIN: Oid = Oid::from_u32(6000);

/// Finds a relation by name and locks it in ACCESS SHARE mode, until the name stands still.
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

/// What the catalog cache says of a relation, as it is now and not as the transaction's snapshot,
/// which may be old, shows it.
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
    let form: &pg_sys::FormData_pg_class = unsafe { form(tuple) };
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
        let text = unsafe { std::ffi::CStr::from_ptr(text) };
        encoding::as_utf8(text.to_bytes(), encoding::of_this_database())
    };
    Some(format!("{}.{}", text(schema), text(name)))
}

/// A database's name, as far as it is text here. `None` when it is gone.
pub fn database_name(database: Oid) -> Option<String> {
    let name = database_name_bytes(database)?;
    Some(encoding::as_utf8(&name, encoding::of_this_database()))
}

/// The name as it is stored, in whatever encoding.
pub fn database_name_bytes(database: Oid) -> Option<Vec<u8>> {
    // SAFETY: a catalog look-up; NULL, or a palloc'd C string.
    let name = unsafe { pg_sys::get_database_name(database) };
    if name.is_null() {
        return None;
    }
    // SAFETY: a C string that lives as long as the current memory context.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    Some(name.to_bytes().to_vec())
}

/// The fixed columns of a row (GETSTRUCT, htup_details.h).
///
/// # Safety
/// `tuple` stays valid for `'a`, and `T` has the layout of its first columns, none of them NULL.
unsafe fn form<'a, T>(tuple: pg_sys::HeapTuple) -> &'a T {
    // SAFETY: a valid tuple has a header.
    let header = unsafe { (*tuple).t_data };
    // SAFETY: as above.
    let offset = usize::from(unsafe { (*header).t_hoff });
    // SAFETY: the columns lie within the tuple.
    let columns = unsafe { header.cast::<u8>().add(offset) };
    // SAFETY: they are aligned as the server's own struct is.
    unsafe { &*columns.cast() }
}

fn pstrdup(text: &str) -> Option<*mut c_char> {
    let text = CString::new(text).ok()?;
    // SAFETY: a valid C string; the copy lives in the current memory context.
    Some(unsafe { pg_sys::pstrdup(text.as_ptr()) })
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

/// A row of pg_subscription from the catalog cache. Unlike a query's, its look-up leaves no lock on
/// the catalog behind, which would deadlock with another session's DROP SUBSCRIPTION.
pub struct SubscriptionRow {
    tuple: pg_sys::HeapTuple,
    cache: i32,
}

impl SubscriptionRow {
    /// The subscription of this name in this database.
    pub fn find(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONNAME as i32;
        let key = Datum::from(name.as_ptr());
        // SAFETY: a catalog cache look-up; the key is a valid C string.
        let tuple = unsafe { pg_sys::SearchSysCache2(cache, Datum::from(my_database()), key) };
        (!tuple.is_null()).then(|| Self { tuple, cache })
    }

    /// The subscription of this oid in any database.
    pub fn by_oid(subscription: Oid) -> Option<Self> {
        let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONOID as i32;
        // SAFETY: a catalog cache look-up.
        let tuple = unsafe { pg_sys::SearchSysCache1(cache, Datum::from(subscription)) };
        (!tuple.is_null()).then(|| Self { tuple, cache })
    }

    /// Whether this very transaction made or changed it, which nobody else can see yet.
    pub fn is_of_this_transaction(&self) -> bool {
        // SAFETY: a valid tuple has a header.
        let header = unsafe { (*self.tuple).t_data };
        // SAFETY: a valid tuple has a header.
        let header = unsafe { &*header };
        // SAFETY: a row of a catalog has this arm of the union.
        let inserted_by = unsafe { header.t_choice.t_heap }.t_xmin;
        // SAFETY: compares backend-local numbers.
        unsafe { pg_sys::TransactionIdIsCurrentTransactionId(inserted_by) }
    }

    /// A column's value; `T` must be the column's type. `None` for NULL, or a column of a later major.
    pub fn get<T: FromDatum>(&self, column: &str) -> Option<T> {
        let (datum, is_null) = self.datum(column)?;
        // SAFETY: the caller names the column's type; the value is copied while the row is held.
        unsafe { T::from_datum(datum, is_null) }
    }

    /// The same for a column of variable length, in which native DDL stores as much as it is given.
    /// `None` also for one of more than `limit` bytes, which is not fetched then.
    pub fn get_up_to<T: FromDatum>(&self, column: &str, limit: usize) -> Option<T> {
        let (datum, is_null) = self.datum(column)?;
        if is_null || super::argument::size(datum) > limit {
            return None;
        }
        // SAFETY: the caller names the column's type; the value is copied while the row is held.
        unsafe { T::from_datum(datum, false) }
    }

    /// A text column in UTF-8, likewise.
    pub fn text(&self, column: &str, limit: usize) -> Option<String> {
        let bytes: &[u8] = self.get_up_to(column, limit)?;
        Some(encoding::as_utf8(bytes, encoding::of_this_database()))
    }

    /// `None` for a column of a later major.
    fn datum(&self, column: &str) -> Option<(Datum, bool)> {
        let column = subscription_column(column);
        if column == 0 {
            return None; // InvalidAttrNumber
        }
        let mut is_null = false;
        // SAFETY: a row of this cache, and a column of its relation.
        let datum =
            unsafe { pg_sys::SysCacheGetAttr(self.cache, self.tuple, column, &mut is_null) };
        Some((datum, is_null))
    }
}

impl Drop for SubscriptionRow {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the resource owner releases it
        }
        // SAFETY: held since `find`.
        unsafe { pg_sys::ReleaseSysCache(self.tuple) }
    }
}

/// A column's number, which differs between majors.
fn subscription_column(name: &str) -> i16 {
    let name = CString::new(name).expect("a column name has no NUL");
    // SAFETY: a catalog cache look-up by name.
    unsafe { pg_sys::get_attnum(SUBSCRIPTION, name.as_ptr()) }
}

/// Whether a table is a member of an extension.
pub fn is_of_extension(table: Oid) -> bool {
    // SAFETY: scans pg_depend within a transaction.
    let extension = unsafe { pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table) };
    extension != Oid::INVALID
}

/// The subscriptions of this database. Leaves no lock on the catalog behind.
pub fn subscriptions_here() -> Vec<Oid> {
    let everywhere = super::worker::subscriptions_everywhere().into_iter();
    everywhere.filter(|it| it.database == my_database()).map(|it| it.subscription).collect()
}

pub fn my_database() -> Oid {
    // SAFETY: set for the life of the process before any function can run.
    unsafe { pg_sys::MyDatabaseId }
}

/// The tables of a subscription with their states. Leaves no lock on the catalog behind.
pub fn subscription_relations(subscription: Oid) -> Vec<(Oid, char)> {
    /// The fixed columns of pg_subscription_rel (pg_subscription_rel.h).
    #[repr(C)]
    struct Form {
        subscription: Oid,
        relation: Oid,
        state: c_char,
    }
    let all = scan::<Form, _>(SUBSCRIPTION_REL, |row| {
        (row.subscription, row.relation, char::from(row.state as u8))
    });
    let own = all.into_iter().filter(|(owner, ..)| *owner == subscription);
    own.map(|(_, relation, state)| (relation, state)).collect()
}

/// Reads a catalog whole. `Form` has the layout of its first columns, none of them ever NULL. Leaves
/// no lock on the catalog behind.
pub fn scan<Form, T>(catalog: Oid, map: impl Fn(&Form) -> T) -> Vec<T> {
    let relation = OpenRelation::open(catalog, pg_sys::AccessShareLock);
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

/// Locks a subscription against every other change, to the end of the transaction.
pub fn lock_subscription(subscription: Oid) {
    // SAFETY: takes a lock or raises.
    unsafe {
        pg_sys::LockSharedObject(SUBSCRIPTION, subscription, 0, pg_sys::AccessExclusiveLock as _)
    }
}

/// Lets one session at a time create a subscription of this name here: the others see it once they
/// have the lock, instead of failing at the index. A name stands for itself by a hash.
pub fn lock_subscription_name(name: &str) {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(name, &mut hasher);
    // Sub-object 0 would be a subscription's own lock.
    let part = 1 + (std::hash::Hasher::finish(&hasher) % u64::from(u16::MAX)) as u16;
    // SAFETY: takes a lock or raises.
    unsafe {
        pg_sys::LockSharedObject(
            SUBSCRIPTION,
            my_database(),
            part,
            pg_sys::AccessExclusiveLock as _,
        )
    }
}

/// What a transaction does with the guard of this database's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Makes a subscription that needs it.
    InUse,
    Dropped,
}

/// Lets transactions use the guard or drop it, not both at a time, to their end.
pub fn lock_guard(guard: Guard) {
    let mode = match guard {
        Guard::InUse => pg_sys::ShareLock,
        Guard::Dropped => pg_sys::ExclusiveLock,
    };
    // The number of no event trigger.
    // SAFETY: takes a lock or raises.
    unsafe { pg_sys::LockDatabaseObject(EVENT_TRIGGER, Oid::INVALID, 0, mode as _) }
}

/// Whether one of these event triggers is there, as it is now, and fires in apply workers too. Only
/// superusers own any.
pub fn has_event_trigger(names: &[String]) -> bool {
    /// The first columns of pg_event_trigger (pg_event_trigger.h).
    #[repr(C)]
    struct Form {
        oid: Oid,
        name: pg_sys::NameData,
        event: pg_sys::NameData,
        owner: Oid,
        function: Oid,
        enabled: c_char,
    }
    let found = scan::<Form, _>(EVENT_TRIGGER, |form| {
        // SAFETY: a name is NUL-terminated within its 64 bytes.
        let name = unsafe { std::ffi::CStr::from_ptr(form.name.data.as_ptr()) };
        let fires_always = form.enabled as u8 == b'A';
        fires_always && names.iter().any(|wanted| name.to_bytes() == wanted.as_bytes())
    });
    found.contains(&true)
}

/// Keeps table sync workers from starting for tables that are being removed, as
/// AlterSubscription_refresh (subscriptioncmds.c) does, to the end of the transaction.
pub fn lock_subscription_relations() {
    lock_catalog(SUBSCRIPTION_REL, pg_sys::AccessExclusiveLock)
}

/// Takes the lock under which origins are dropped before changing any: up to 15 a stronger one than
/// the change itself would take, so that two sessions would wait for each other.
pub fn lock_origins() {
    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
    lock_catalog(REPLICATION_ORIGIN, pg_sys::ExclusiveLock);
    #[cfg(any(feature = "pg16", feature = "pg17", feature = "pg18"))]
    lock_catalog(REPLICATION_ORIGIN, pg_sys::RowExclusiveLock);
}

fn lock_catalog(relation: Oid, mode: u32) {
    // SAFETY: takes a lock or raises.
    unsafe { pg_sys::LockRelationOid(relation, mode as _) }
}

/// Sets columns of a locked subscription in place, so that no SQL text ever holds their values.
pub fn update_subscription(subscription: Oid, columns: &[(&str, Column)]) {
    let relation = OpenRelation::open(SUBSCRIPTION, pg_sys::RowExclusiveLock);
    let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONOID as _;
    let Some(old) = copy_of_row(cache, Datum::from(subscription)) else {
        pgrx::ereport!(
            PgLogLevel::ERROR,
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            "subscription was concurrently dropped"
        );
        return;
    };
    let columns: Vec<(i16, Datum)> =
        columns.iter().map(|(name, value)| (subscription_column(name), value.datum())).collect();
    relation.update(old, &columns);
}

/// A copy of a catalog's current row in the current memory context.
fn copy_of_row(cache: c_int, key: Datum) -> Option<pg_sys::HeapTuple> {
    let none = Datum::null();
    // SAFETY: a catalog cache look-up by a key of the cache's type.
    let row = unsafe { pg_sys::SearchSysCacheCopy(cache, key, none, none, none) };
    (!row.is_null()).then_some(row)
}

/// A value for `update_subscription`.
pub enum Column {
    Text(String),
    Oid(Oid),
    Bool(bool),
}

impl Column {
    fn datum(&self) -> Datum {
        match self {
            Self::Text(text) => text.as_str().into_datum().expect("a string is a datum"),
            Self::Oid(oid) => Datum::from(*oid),
            Self::Bool(value) => Datum::from(*value),
        }
    }
}

/// Records the new owner of a subscription in pg_shdepend.
pub fn change_owner_dependency(subscription: Oid, owner: Oid) {
    // SAFETY: changes one row of pg_shdepend, or raises.
    unsafe { pg_sys::changeDependencyOnOwner(SUBSCRIPTION, subscription, owner) }
}

/// Records a table of a subscription; `state` is `i` (to be copied) or `r` (ready).
pub fn add_subscription_relation(subscription: Oid, relation: Oid, state: u8) {
    // SAFETY: inserts a row or raises.
    guarded(|| unsafe { server::add_relation(subscription, relation, state) })
}

/// Removes a table of a subscription, whatever its state.
pub fn remove_subscription_relation(subscription: Oid, relation: Oid) {
    // SAFETY: deletes a row or raises.
    guarded(|| unsafe { server::RemoveSubscriptionRel(subscription, relation) })
}

/// Stops the worker that applies changes, which starts those that copy tables.
pub fn stop_apply_worker(subscription: Oid) {
    stop_worker(subscription, Oid::INVALID);
}

/// Stops the worker that copies a table, and waits until it is gone.
pub fn stop_worker(subscription: Oid, relation: Oid) {
    // SAFETY: interruptible wait; takes and releases its own locks.
    guarded(|| unsafe { server::logicalrep_worker_stop(subscription, relation) })
}

/// Up to which LSN of its publisher a subscription has applied changes; `None` without an origin, or
/// before the first. Leaves no lock on the catalog behind.
pub fn origin_progress(subscription: Oid) -> Option<u64> {
    let name = CString::new(format!("pg_{}", subscription.to_u32())).ok()?;
    // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
    let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
    if origin == 0 {
        return None;
    }
    // SAFETY: reads shared memory under its lock.
    Some(unsafe { pg_sys::replorigin_get_progress(origin, false) }).filter(|lsn| *lsn != 0)
}

/// Gives a replication origin another name, which a rollback undoes. Returns its number and the new
/// name; `None` without such an origin. Unlike a query it finds the origin whatever the transaction's
/// snapshot shows.
pub fn rename_origin(name: &str, new_name: impl FnOnce(u16) -> String) -> Option<(u16, String)> {
    const NAME: i16 = 2; // Anum_pg_replication_origin_roname
    let relation = OpenRelation::open(REPLICATION_ORIGIN, pg_sys::RowExclusiveLock);
    let key = name.into_datum()?;
    let old = copy_of_row(pg_sys::SysCacheIdentifier::REPLORIGNAME as _, key)?;
    // SAFETY: a row of pg_replication_origin, whose first column is the origin's number, an oid.
    let number: &Oid = unsafe { form(old) };
    let number = u16::try_from(number.to_u32()).ok()?;
    let new_name = new_name(number);
    relation.update(old, &[(NAME, new_name.as_str().into_datum()?)]);
    Some((number, new_name))
}

/// Up to which LSN of its publisher the origin of this number has applied changes; 0 if nowhere.
pub fn progress_of_origin(origin: u16) -> u64 {
    // SAFETY: reads shared memory under its lock.
    unsafe { pg_sys::replorigin_get_progress(origin, false) }
}

/// Puts the progress of an origin back, on disk too, unless it is further already. Needs no catalog,
/// so it may be called while a transaction is rolled back.
pub fn restore_progress_of_origin(origin: u16, progress: u64) {
    if progress_of_origin(origin) >= progress {
        return;
    }
    // No local LSN: all that was applied is in the WAL before this, which is flushed below.
    // SAFETY: changes shared memory under its lock and writes WAL, or raises.
    unsafe { pg_sys::replorigin_advance(origin, progress, 0, false, true) };
    // SAFETY: reads a variable of this process: the end of the record that was just written.
    let end = unsafe { pg_sys::XactLastRecEnd };
    // SAFETY: a position up to which WAL has been written.
    unsafe { pg_sys::XLogFlush(end) };
}

/// Drops a replication origin and its progress, which a rollback does not bring back.
pub fn drop_origin(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    #[cfg(any(
        feature = "pg14",
        feature = "pg15",
        feature = "pg16",
        feature = "pg17",
        feature = "pg18"
    ))]
    // SAFETY: a valid C string; a missing origin is fine.
    unsafe {
        pg_sys::replorigin_drop_by_name(name.as_ptr(), true, false)
    }
    #[cfg(feature = "pg13")]
    {
        // SAFETY: a valid C string; a missing origin gives InvalidRepOriginId.
        let origin = unsafe { pg_sys::replorigin_by_name(name.as_ptr().cast_mut(), true) };
        if origin != 0 {
            // SAFETY: an origin that exists.
            unsafe { pg_sys::replorigin_drop(origin, false) }
        }
    }
}

/// Refuses what would write, in a read-only transaction or during recovery.
pub fn require_writable(command: &std::ffi::CStr) {
    // SAFETY: raises or returns.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) };
    // SAFETY: raises or returns.
    unsafe { pg_sys::PreventCommandDuringRecovery(command.as_ptr()) };
}

/// A catalog, open and locked; both end with it, as core does for catalogs.
pub(super) struct OpenRelation(pub(super) pg_sys::Relation, u32);

impl OpenRelation {
    pub(super) fn open(oid: Oid, lock: u32) -> Self {
        // SAFETY: opens or raises.
        Self(unsafe { pg_sys::table_open(oid, lock as _) }, lock)
    }

    /// Replaces columns, by their numbers, of a row of this catalog; `old` is a copy of it.
    fn update(&self, old: pg_sys::HeapTuple, columns: &[(i16, Datum)]) {
        let mut numbers: Vec<i32> = columns.iter().map(|(number, _)| i32::from(*number)).collect();
        let mut values: Vec<Datum> = columns.iter().map(|(_, value)| *value).collect();
        let nulls = vec![false; values.len()];
        // SAFETY: the relation is open.
        let description = unsafe { (*self.0).rd_att };
        // SAFETY: three arrays of one length, columns that exist in this relation, a valid tuple.
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
        // SAFETY: the relation is open in ROW EXCLUSIVE mode and the object locked by the caller.
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
fn guarded(call: impl FnOnce()) {
    // SAFETY: on the backend's only thread that calls the server; the closures own nothing.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}

/// Functions that the server exports and pgrx does not bind (catalog/pg_subscription_rel.h,
/// replication/worker_internal.h).
mod server {
    use super::*;

    unsafe extern "C-unwind" {
        // Since 17 with `retain_lock`.
        #[cfg(not(any(feature = "pg17", feature = "pg18")))]
        fn AddSubscriptionRelState(sub: Oid, rel: Oid, state: c_char, lsn: u64);
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        fn AddSubscriptionRelState(sub: Oid, rel: Oid, state: c_char, lsn: u64, retain_lock: bool);
        pub fn RemoveSubscriptionRel(sub: Oid, rel: Oid);
        pub fn logicalrep_worker_stop(sub: Oid, rel: Oid);
    }

    pub unsafe fn add_relation(subscription: Oid, relation: Oid, state: u8) {
        #[cfg(not(any(feature = "pg17", feature = "pg18")))]
        // SAFETY: plain values; the caller holds the guard.
        unsafe {
            AddSubscriptionRelState(subscription, relation, state as c_char, 0)
        }
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        // SAFETY: plain values; the caller holds the guard.
        unsafe {
            AddSubscriptionRelState(subscription, relation, state as c_char, 0, false)
        }
    }
}
