//! What waits for the end of the caller's transaction. Remote slots and replication origins are not
//! transactional; here they are made to live and die with the transaction that asked.
//!
//! | when | what |
//! |---|---|
//! | before the commit record | new slots become permanent, connections for drops are checked; then subscriptions and their tables go, and last of all origins |
//! | after it | slots are dropped; what can't be is a WARNING: nothing may be raised any more |
//! | rollback | connections are closed, and temporary slots go with them; the progress of origins that were dropped already is put back |
//! | rollback to a savepoint | as above; no origin is dropped before all savepoints are gone |

use std::cell::RefCell;
use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgmig_core::lsn::Lsn;
use pgmig_core::sql;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::error::{Error, Kind, Result, raise, report};
use crate::ffi::settings::{lock_timeout, with_settings};
use crate::ffi::transaction::{self as ffi, Event, SubEvent};
use crate::ffi::{catalog, role, wait};
use crate::publisher::Mark;
use crate::slot::{DoomedSlots, NewSlot};
use crate::subscription::removal::{DoomedOrigin, Removal};
use crate::watcher;

/// How long the commit waits for a lock on a catalog.
const LOCK_TIME: Duration = Duration::from_secs(5);

pub enum Action {
    KeepSlot(NewSlot),
    DropSlots(DoomedSlots),
    Remove(Removal),
    /// Has the watcher of this database look at its subscriptions.
    Look(Oid),
}

/// What is to become of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Create,
    Drop,
}

impl Action {
    fn plan_for_slot(&self, name: &str) -> Option<(Plan, Mark)> {
        match self {
            Self::KeepSlot(slot) if slot.name() == name => {
                Some((Plan::Create, slot.publisher().mark()))
            }
            _ => self.slots().and_then(|slots| {
                let is_named = slots.names.iter().any(|slot| slot == name);
                is_named.then(|| (Plan::Drop, slots.publisher.mark()))
            }),
        }
    }

    /// The slots that go with it.
    fn slots(&self) -> Option<&DoomedSlots> {
        match self {
            Self::DropSlots(slots) => Some(slots),
            Self::Remove(removal) => removal.slots.as_ref(),
            Self::KeepSlot(_) | Self::Look(_) => None,
        }
    }

    /// Whatever waits for a publisher.
    fn before_commit(&mut self) -> Result<()> {
        match self {
            Self::KeepSlot(slot) => slot.keep(),
            Self::DropSlots(slots) => slots.check(),
            Self::Remove(removal) => removal.slots.as_mut().map_or(Ok(()), DoomedSlots::check),
            Self::Look(_) => Ok(()),
        }
    }

    fn after_commit(self) {
        match self {
            Self::DropSlots(slots) => slots.drop_now(),
            Self::Remove(removal) => {
                if let Some(slots) = removal.slots {
                    slots.drop_now();
                }
            }
            Self::Look(database) => watcher::call(database),
            // Closing the connection ends the temporary slot that it was copied from.
            Self::KeepSlot(_) => {}
        }
    }

    fn after_abort(self) {
        if let Self::KeepSlot(slot) = self {
            slot.give_up();
        }
    }
}

struct Pending {
    subtransaction: u32,
    action: Action,
}

/// An origin that this transaction has dropped, while it may still roll back.
struct DroppedOrigin {
    origin: DoomedOrigin,
    progress: Lsn,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
    /// Of the transaction that is being committed, until its locks are released.
    static COMMITTED: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
    static DROPPED_ORIGINS: RefCell<Vec<DroppedOrigin>> = const { RefCell::new(Vec::new()) };
}

pub fn install() {
    ffi::install();
}

/// Ties `action` to the current (sub)transaction.
pub fn defer(action: Action) {
    let subtransaction = ffi::current_subtransaction();
    PENDING.with_borrow_mut(|pending| pending.push(Pending { subtransaction, action }));
}

/// What this transaction is to do to slots of this name, and on which connections.
pub fn plans_for_slot(name: &str) -> Vec<(Plan, Mark)> {
    PENDING.with_borrow(|pending| {
        pending.iter().filter_map(|entry| entry.action.plan_for_slot(name)).collect()
    })
}

/// Whether this transaction drops the subscription.
pub fn is_to_go(subscription: pg_sys::Oid) -> bool {
    PENDING.with_borrow(|pending| {
        pending.iter().any(
            |entry| matches!(&entry.action, Action::Remove(removal) if removal.drops(subscription)),
        )
    })
}

pub fn on_event(event: Event) {
    match event {
        Event::PreCommit => before_commit(),
        Event::PrePrepare => refuse_prepare(),
        Event::Commit => {
            DROPPED_ORIGINS.take();
            COMMITTED.set(take());
        }
        Event::Released => {
            let what = "finish what waited for the commit";
            each_quietly(what, COMMITTED.take(), Action::after_commit);
        }
        Event::Abort => {
            // First, while the transaction's locks keep workers from using the origins.
            DROPPED_ORIGINS.take().into_iter().for_each(put_back);
            undo(take());
        }
    }
}

pub fn on_sub_event(event: SubEvent) {
    match event {
        SubEvent::Commit { own, parent } => PENDING.with_borrow_mut(|pending| {
            for entry in pending.iter_mut().filter(|entry| entry.subtransaction == own) {
                entry.subtransaction = parent;
            }
        }),
        SubEvent::Abort { own } => {
            let (undone, kept): (Vec<_>, Vec<_>) =
                take().into_iter().partition(|entry| entry.subtransaction == own);
            PENDING.set(kept);
            undo(undone);
        }
    }
}

fn take() -> Vec<Pending> {
    PENDING.take()
}

/// What can still fail comes first; dropping origins, which no rollback undoes, comes last.
fn before_commit() {
    let mut all = Taken(Vec::new());
    let mut origins = Vec::new();
    loop {
        let known = all.0.len();
        all.0.extend(take());
        let new = &mut all.0[known..];
        if new.is_empty() {
            break;
        }
        for pending in &mut *new {
            raise(pending.action.before_commit());
        }
        origins.extend(remove(new));
        // Event triggers of a drop may have asked for more.
    }
    if !origins.is_empty() {
        without_long_lock_waits(|| origins.into_iter().for_each(drop_origin));
    }
}

/// Actions at work. Put back when dropped, so that the end of the transaction finds them, also when
/// a step raised.
struct Taken(Vec<Pending>);

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(take());
        PENDING.set(all);
    }
}

/// Takes from this server's catalogs what is to go. Returns the origins that are to go after it.
fn remove(actions: &mut [Pending]) -> Vec<DoomedOrigin> {
    let mut removals: Vec<&mut Removal> = Vec::new();
    for pending in actions {
        if let Action::Remove(removal) = &mut pending.action {
            removals.retain(|earlier| !earlier.is_superseded_by(removal));
            removals.push(removal);
        }
    }
    if removals.is_empty() {
        return Vec::new();
    }
    let run = |removal: &mut Removal| role::as_definer(removal.user, || raise(removal.run()));
    let origins = without_long_lock_waits(|| {
        ffi::with_snapshot(|| removals.into_iter().flat_map(run).collect())
    });
    ffi::fire_deferred_triggers();
    origins
}

/// Runs what takes locks on catalogs, and then waits for workers to end. Others queue up behind such a
/// lock, also behind one that is waited for, and `statement_timeout` is off while a transaction
/// commits. A worker whose publisher has it compute in libpq does not hear that it is to end.
fn without_long_lock_waits<R>(work: impl FnOnce() -> R) -> R {
    let (start, time) = (Instant::now(), lock_time());
    let timeout = CString::new(time.as_millis().max(1).to_string()).unwrap_or_default();
    let settings =
        [(c"search_path", c"pg_catalog, pg_temp"), (c"lock_timeout", timeout.as_c_str())];
    let bounded = || with_settings(&settings, || ffi::within(time, work));
    PgTryBuilder::new(AssertUnwindSafe(bounded))
        .catch_when(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, |_| raise(Err(locked(time))))
        .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| {
            if start.elapsed() + Duration::from_millis(10) >= time {
                raise(Err(locked(time)))
            } else {
                error.rethrow()
            }
        })
        .execute()
}

fn lock_time() -> Duration {
    let statement = wait::statement_deadline()
        .map(|deadline| deadline.saturating_duration_since(Instant::now()));
    [statement, lock_timeout()].into_iter().flatten().fold(LOCK_TIME, Duration::min)
}

fn locked(time: Duration) -> Error {
    Error::new(
        Kind::LockNotAvailable,
        "could not lock the catalogs of subscriptions to commit this transaction",
    )
    .detail(format!(
        "Another session has held pg_subscription, pg_subscription_rel or pg_replication_origin, or a \
         worker of the subscription has not ended, for {} ms. Nothing is changed.",
        time.as_millis()
    ))
    .hint(
        "Find that session in pg_locks or that worker in pg_stat_subscription, let it end, and run this \
         again.",
    )
}

/// From here on only a failure of the commit itself is expected; then the progress is put back.
fn drop_origin(origin: DoomedOrigin) {
    let renamed = origin.renamed.clone();
    let progress = Lsn(catalog::progress_of_origin(origin.number));
    DROPPED_ORIGINS.with_borrow_mut(|all| all.push(DroppedOrigin { origin, progress }));
    catalog::drop_origin(&renamed);
}

/// A commit that failed brings the origin back, but not how far it was: its subscription would apply
/// again what it has applied already.
fn put_back(dropped: DroppedOrigin) {
    let DroppedOrigin { origin, progress } = dropped;
    if progress.0 == 0 {
        return;
    }
    let restore = || catalog::restore_progress_of_origin(origin.number, progress.0);
    let Err(reason) = ffi::caught(restore) else { return };
    let name = &origin.name;
    let lost = Error::new(
        Kind::Internal,
        format!("the progress of replication origin \"{name}\" is lost: {reason}"),
    )
    .detail(format!("Its subscription had applied its publisher's changes up to {progress}."))
    .hint(format!(
        "Before the subscription runs again, let a superuser run: \
         SELECT pg_replication_origin_advance({}, '{progress}');",
        sql::literal(name)
    ));
    let _ = ffi::caught(|| report(PgLogLevel::WARNING, lost));
}

/// The watcher need not look at once at what is committed at some later time.
fn refuse_prepare() {
    PENDING.with_borrow_mut(|pending| {
        pending.retain(|entry| !matches!(entry.action, Action::Look(_)));
    });
    if PENDING.with_borrow(|pending| !pending.is_empty()) {
        raise(Err(Error::new(
            Kind::FeatureNotSupported,
            "cannot PREPARE a transaction that drops or refreshes a subscription, or creates or \
             drops a replication slot of a publisher",
        )
        .hint("Use COMMIT.")))
    }
}

fn undo(actions: Vec<Pending>) {
    each_quietly("undo what a transaction had planned", actions, Action::after_abort);
}

/// Nothing may be raised any more. What went wrong is told in the log.
fn each_quietly(what: &str, actions: Vec<Pending>, work: fn(Action)) {
    for pending in actions {
        let Err(reason) = ffi::caught(|| work(pending.action)) else { continue };
        let error = Error::new(Kind::Internal, format!("could not {what}: {reason}"));
        let _ = ffi::caught(|| report(PgLogLevel::LOG, error));
    }
}
