//! Subscriptions in the catalogs, and their workers: changes for which there is no SQL, and their
//! locks. Called inside a transaction; changes need a superuser.

use std::ffi::{CStr, CString, c_char};

use pgmig_core::limits;
use pgrx::datum::Array;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::{FromDatum, IntoDatum, PgLogLevel, PgSqlErrorCode};

use super::catalog::{self, Form, OpenRelation, guarded};
use super::database::my_database;
use super::{argument, encoding};

// SubscriptionRelationId (pg_subscription.h) and SubscriptionRelRelationId (pg_subscription_rel.h); pgrx
// does not bind them.
const SUBSCRIPTION: Oid = Oid::from_u32(6100);
const SUBSCRIPTION_REL: Oid = Oid::from_u32(6102);

/// A subscription of any database, as far as it can be read by a process without a database.
#[derive(Clone, Copy)]
pub struct Subscribed {
    pub subscription: Oid,
    pub database: Oid,
    pub owner: Oid,
    pub enabled: bool,
}

/// The first columns of pg_subscription (pg_subscription.h): the rest varies, and a long connection string
/// is out of line where a worker without a database can't read it.
#[cfg(any(feature = "pg13", feature = "pg14"))]
#[repr(C)]
struct Subscription {
    oid: Oid,
    database: Oid,
    name: pg_sys::NameData,
    owner: Oid,
    enabled: bool,
}

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
#[repr(C)]
struct Subscription {
    oid: Oid,
    database: Oid,
    skip_lsn: pg_sys::XLogRecPtr,
    name: pg_sys::NameData,
    owner: Oid,
    enabled: bool,
}

// SAFETY: pg_subscription.h of the majors above.
unsafe impl Form for Subscription {
    const CATALOG: Oid = SUBSCRIPTION;
}

/// The fixed columns of pg_subscription_rel (pg_subscription_rel.h).
#[cfg(any(
    feature = "pg13",
    feature = "pg14",
    feature = "pg15",
    feature = "pg16",
    feature = "pg17",
    feature = "pg18"
))]
#[repr(C)]
struct Table {
    subscription: Oid,
    relation: Oid,
    state: c_char,
}

// SAFETY: pg_subscription_rel.h of the majors above.
unsafe impl Form for Table {
    const CATALOG: Oid = SUBSCRIPTION_REL;
}

/// The subscriptions of all databases. Needs no database, and leaves no lock on the catalog behind.
pub fn everywhere() -> Vec<Subscribed> {
    catalog::scan(|form: &Subscription| Subscribed {
        subscription: form.oid,
        database: form.database,
        owner: form.owner,
        enabled: form.enabled,
    })
}

/// The subscriptions of this database. Leaves no lock on the catalog behind.
pub fn here() -> Vec<Oid> {
    let here = my_database();
    everywhere().into_iter().filter(|it| it.database == here).map(|it| it.subscription).collect()
}

/// The tables of a subscription with their states. Leaves no lock on the catalog behind.
pub fn tables(subscription: Oid) -> Vec<(Oid, char)> {
    let all =
        catalog::scan(|row: &Table| (row.subscription, row.relation, char::from(row.state as u8)));
    let own = all.into_iter().filter(|(owner, ..)| *owner == subscription);
    own.map(|(_, relation, state)| (relation, state)).collect()
}

/// A subscription as the catalog cache has it. Unlike a query's, its look-up leaves no lock on the
/// catalog behind, which would deadlock with another session's DROP SUBSCRIPTION.
pub struct SubscriptionRow {
    pub oid: Oid,
    pub database: Oid,
    pub owner: Oid,
    pub enabled: bool,
    /// As it is stored, in the encoding of its database.
    pub name: Vec<u8>,
    pub slot: Option<String>,
    /// In UTF-8. `None` for a string of more than `limits::TEXT` bytes: native DDL stores any length.
    pub conninfo: Option<String>,
    /// `None` for a list of more than `limits::PUBLICATIONS` bytes. What is not UTF-8 is shown as such.
    pub publications: Option<Vec<String>>,
    /// `None` where the major has none.
    pub origin: Option<String>,
    /// Whether two_phase is enabled, and not only requested.
    pub two_phase_enabled: bool,
    /// Whether this very transaction made or changed it, which nobody else can see yet.
    pub is_of_this_transaction: bool,
}

impl SubscriptionRow {
    /// The subscription of this name in this database.
    pub fn find(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONNAME as i32;
        let key = Datum::from(name.as_ptr());
        // SAFETY: a catalog cache look-up; the key is a valid C string.
        let tuple = unsafe { pg_sys::SearchSysCache2(cache, Datum::from(my_database()), key) };
        Held::of(tuple, cache).map(|row| row.read())
    }

    /// The subscription of this oid in any database.
    pub fn by_oid(subscription: Oid) -> Option<Self> {
        let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONOID as i32;
        // SAFETY: a catalog cache look-up.
        let tuple = unsafe { pg_sys::SearchSysCache1(cache, Datum::from(subscription)) };
        Held::of(tuple, cache).map(|row| row.read())
    }
}

/// A row of pg_subscription that the catalog cache keeps until it is released.
struct Held {
    tuple: pg_sys::HeapTuple,
    cache: i32,
}

impl Held {
    fn of(tuple: pg_sys::HeapTuple, cache: i32) -> Option<Self> {
        (!tuple.is_null()).then(|| Self { tuple, cache })
    }

    fn read(&self) -> SubscriptionRow {
        // SAFETY: a row of pg_subscription, which is held.
        let fixed: &Subscription = unsafe { catalog::form(self.tuple) };
        // SAFETY: a name is NUL-terminated within its 64 bytes.
        let name = unsafe { CStr::from_ptr(fixed.name.data.as_ptr()) };
        SubscriptionRow {
            oid: fixed.oid,
            database: fixed.database,
            owner: fixed.owner,
            enabled: fixed.enabled,
            name: name.to_bytes().to_vec(),
            slot: self.slot(),
            conninfo: self.text("subconninfo", limits::TEXT),
            publications: self.publications(),
            origin: self.text("suborigin", limits::TEXT),
            two_phase_enabled: self.is_two_phase_enabled(),
            is_of_this_transaction: self.is_of_this_transaction(),
        }
    }

    fn slot(&self) -> Option<String> {
        let (datum, is_null) = self.datum("subslotname")?;
        // SAFETY: subslotname is a name, whose value is copied while the row is held.
        let slot: Option<&CStr> = unsafe { FromDatum::from_datum(datum, is_null) };
        slot.map(|slot| slot.to_string_lossy().into_owned())
    }

    fn publications(&self) -> Option<Vec<String>> {
        let datum = self.datum_up_to("subpublications", limits::PUBLICATIONS)?;
        // SAFETY: subpublications is a text[], copied while the row is held.
        let names: Array<&[u8]> = unsafe { FromDatum::from_datum(datum, false) }?;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        Some(names.iter().flatten().map(text).collect())
    }

    fn is_two_phase_enabled(&self) -> bool {
        let Some((datum, is_null)) = self.datum("subtwophasestate") else { return false };
        // SAFETY: subtwophasestate is a "char".
        let state: Option<i8> = unsafe { FromDatum::from_datum(datum, is_null) };
        state == Some(b'e' as i8)
    }

    fn is_of_this_transaction(&self) -> bool {
        // SAFETY: a valid tuple has a header.
        let header = unsafe { (*self.tuple).t_data };
        // SAFETY: as above.
        let header = unsafe { &*header };
        // SAFETY: a row of a catalog has this arm of the union.
        let inserted_by = unsafe { header.t_choice.t_heap }.t_xmin;
        // SAFETY: compares backend-local numbers.
        unsafe { pg_sys::TransactionIdIsCurrentTransactionId(inserted_by) }
    }

    /// `column` is one of type text.
    fn text(&self, column: &str, limit: usize) -> Option<String> {
        let datum = self.datum_up_to(column, limit)?;
        // SAFETY: a text, copied while the row is held.
        let bytes: &[u8] = unsafe { FromDatum::from_datum(datum, false) }?;
        Some(encoding::as_utf8(bytes, encoding::of_this_database()))
    }

    /// The value of a column of variable length. One that is longer is not fetched.
    fn datum_up_to(&self, column: &str, limit: usize) -> Option<Datum> {
        let (datum, is_null) = self.datum(column)?;
        // SAFETY: of variable length, and not NULL.
        (!is_null && unsafe { argument::size(datum) } <= limit).then_some(datum)
    }

    /// `None` for a column of a later major.
    fn datum(&self, column: &str) -> Option<(Datum, bool)> {
        let column = column_number(column);
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

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the resource owner releases it
        }
        // SAFETY: held since it was found.
        unsafe { pg_sys::ReleaseSysCache(self.tuple) }
    }
}

/// A column's number, which differs between majors.
fn column_number(name: &str) -> i16 {
    let name = CString::new(name).expect("a column name has no NUL");
    // SAFETY: a catalog cache look-up by name.
    unsafe { pg_sys::get_attnum(SUBSCRIPTION, name.as_ptr()) }
}

/// Locks a subscription against every other change, to the end of the transaction.
pub fn lock(subscription: Oid) {
    // SAFETY: takes a lock or raises.
    unsafe {
        pg_sys::LockSharedObject(SUBSCRIPTION, subscription, 0, pg_sys::AccessExclusiveLock as _)
    }
}

/// Lets one session at a time create a subscription of this name here: the others see it once they
/// have the lock, instead of failing at the index. A name stands for itself by a hash.
pub fn lock_name(name: &str) {
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

/// Keeps table sync workers from starting for tables that are being removed, as
/// AlterSubscription_refresh (subscriptioncmds.c) does, to the end of the transaction.
pub fn lock_tables() {
    catalog::lock_catalog(SUBSCRIPTION_REL, pg_sys::AccessExclusiveLock)
}

/// A column to be set, with its value.
pub enum Column {
    Conninfo(String),
    Owner(Oid),
    /// Since 16.
    PasswordRequired(bool),
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Conninfo(_) => "subconninfo",
            Self::Owner(_) => "subowner",
            Self::PasswordRequired(_) => "subpasswordrequired",
        }
    }

    fn datum(&self) -> Datum {
        match self {
            Self::Conninfo(text) => text.as_str().into_datum().expect("a string is a datum"),
            Self::Owner(oid) => Datum::from(*oid),
            Self::PasswordRequired(value) => Datum::from(*value),
        }
    }
}

/// Sets columns of a subscription that the caller has locked, in place, so that no SQL text ever holds
/// their values.
pub fn update(subscription: Oid, columns: &[Column]) {
    let relation = OpenRelation::open(SUBSCRIPTION, pg_sys::RowExclusiveLock);
    let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONOID as _;
    // SAFETY: the cache's key is an oid.
    let Some(old) = (unsafe { catalog::copy_of_row(cache, Datum::from(subscription)) }) else {
        pgrx::ereport!(
            PgLogLevel::ERROR,
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            "subscription was concurrently dropped"
        );
        return;
    };
    let columns: Vec<(i16, Datum)> =
        columns.iter().map(|column| (column_number(column.name()), column.datum())).collect();
    // SAFETY: its row; each value has the type of its column. Without the lock the update could fail,
    // with an ERROR.
    unsafe { relation.update(old, &columns) };
}

/// Records the new owner of a subscription in pg_shdepend.
pub fn change_owner_dependency(subscription: Oid, owner: Oid) {
    // SAFETY: changes one row of pg_shdepend, or raises.
    unsafe { pg_sys::changeDependencyOnOwner(SUBSCRIPTION, subscription, owner) }
}

/// Records a table of a subscription; `state` is `i` (to be copied) or `r` (ready).
pub fn add_table(subscription: Oid, relation: Oid, state: u8) {
    // SAFETY: inserts a row or raises.
    let call = || unsafe { server::add_relation(subscription, relation, state) };
    // SAFETY: plain values.
    unsafe { guarded(call) }
}

/// Removes a table of a subscription, whatever its state.
pub fn remove_table(subscription: Oid, relation: Oid) {
    // SAFETY: deletes a row or raises.
    let call = || unsafe { server::RemoveSubscriptionRel(subscription, relation) };
    // SAFETY: plain values.
    unsafe { guarded(call) }
}

/// Stops the worker that applies changes, which starts those that copy tables.
pub fn stop_apply_worker(subscription: Oid) {
    stop_worker(subscription, Oid::INVALID);
}

/// Stops the worker that copies a table, and waits until it is gone.
pub fn stop_worker(subscription: Oid, relation: Oid) {
    // SAFETY: interruptible wait; takes and releases its own locks.
    let call = || unsafe { server::logicalrep_worker_stop(subscription, relation) };
    // SAFETY: plain values.
    unsafe { guarded(call) }
}

/// Functions that the server exports and pgrx does not bind (catalog/pg_subscription_rel.h,
/// replication/worker_internal.h).
mod server {
    use super::*;

    unsafe extern "C-unwind" {
        pub fn RemoveSubscriptionRel(sub: Oid, rel: Oid);
        pub fn logicalrep_worker_stop(sub: Oid, rel: Oid);
    }

    #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15", feature = "pg16"))]
    pub unsafe fn add_relation(subscription: Oid, relation: Oid, state: u8) {
        unsafe extern "C-unwind" {
            fn AddSubscriptionRelState(sub: Oid, rel: Oid, state: c_char, lsn: u64);
        }
        // SAFETY: plain values; the caller holds the guard.
        unsafe { AddSubscriptionRelState(subscription, relation, state as c_char, 0) }
    }

    #[cfg(any(feature = "pg17", feature = "pg18"))]
    pub unsafe fn add_relation(subscription: Oid, relation: Oid, state: u8) {
        unsafe extern "C-unwind" {
            fn AddSubscriptionRelState(
                sub: Oid,
                rel: Oid,
                state: c_char,
                lsn: u64,
                retain_lock: bool,
            );
        }
        // SAFETY: plain values; the caller holds the guard.
        unsafe { AddSubscriptionRelState(subscription, relation, state as c_char, 0, false) }
    }
}
