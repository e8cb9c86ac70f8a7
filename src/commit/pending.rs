//! The actions of the running transaction, and the order of their steps.

use std::cell::RefCell;

use pgrx::pg_sys::Oid;

use super::at_end::{AtEnd, Plan, Removes};
use super::locks::without_long_lock_waits;
use super::origin::{self, OriginToDrop};
use crate::error::{Error, Kind, raise};
use crate::ffi::transaction::{self as ffi, BeforeCommit, Callbacks, Ending, Event, SubEvent};
use crate::notice::Notice;
use crate::publisher::Mark;

struct Pending {
    subtransaction: u32,
    action: Box<dyn AtEnd>,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
    /// The actions of a transaction that is being committed, until its locks are released.
    static COMMITTED: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
}

pub fn install() {
    ffi::install(Callbacks {
        before_commit,
        before_prepare,
        event: on_event,
        sub_event: on_sub_event,
    });
}

/// Ties `action` to the current (sub)transaction.
pub fn defer(action: impl AtEnd + 'static) {
    let action = Box::new(action);
    let subtransaction = ffi::current_subtransaction();
    PENDING.with_borrow_mut(|pending| pending.push(Pending { subtransaction, action }));
}

/// What this transaction plans for slots of this name, and on which connections.
pub fn plans_for_slot(name: &str) -> Vec<(Plan, Mark)> {
    PENDING.with_borrow(|pending| {
        pending.iter().filter_map(|entry| entry.action.plan_for_slot(name)).collect()
    })
}

/// Whether this transaction drops the subscription.
pub fn is_to_go(subscription: Oid) -> bool {
    let whole = Some(Removes { subscription, whole: true });
    PENDING.with_borrow(|pending| pending.iter().any(|entry| entry.action.removes() == whole))
}

fn on_event(event: Event, ending: &Ending) {
    match event {
        Event::Commit => {
            origin::forget();
            COMMITTED.set(take());
        }
        Event::Released => {
            let what = "finish what waited for the commit";
            each_quietly(ending, what, COMMITTED.take(), |action| action.after_commit());
        }
        Event::Abort => {
            // This comes first, while the transaction's locks keep workers from using the origins.
            origin::put_all_back(ending);
            undo(ending, take());
        }
    }
}

fn on_sub_event(event: SubEvent, ending: &Ending) {
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
            undo(ending, undone);
        }
    }
}

fn take() -> Vec<Pending> {
    PENDING.take()
}

/// Steps that can fail come first. Dropping origins, which no rollback undoes, comes last.
fn before_commit(moment: &BeforeCommit) {
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
        origins.extend(remove(moment, new));
        // Event triggers of a drop may have deferred more actions.
    }
    if !origins.is_empty() {
        without_long_lock_waits(|| origins.into_iter().for_each(origin::drop));
    }
}

/// Actions that are being worked on. Drop puts them back, so that the end of the transaction finds them
/// even if a step raised an error.
struct Taken(Vec<Pending>);

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(take());
        PENDING.set(all);
    }
}

/// Removes rows from this server's catalogs. Returns the origins to be dropped afterwards.
fn remove(moment: &BeforeCommit, actions: &mut [Pending]) -> Vec<OriginToDrop> {
    let mut removals: Vec<(Removes, &mut Box<dyn AtEnd>)> = Vec::new();
    for pending in actions {
        if let Some(removes) = pending.action.removes() {
            removals.retain(|(earlier, _)| !earlier.is_superseded_by(removes));
            removals.push((removes, &mut pending.action));
        }
    }
    if removals.is_empty() {
        return Vec::new();
    }
    let origins = without_long_lock_waits(|| {
        moment.with_snapshot(|| {
            removals.into_iter().flat_map(|(_, action)| raise(action.remove())).collect()
        })
    });
    moment.fire_deferred_triggers();
    origins
}

fn before_prepare() {
    PENDING.with_borrow_mut(|pending| {
        pending.retain(|entry| !entry.action.is_optional());
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

fn undo(ending: &Ending, actions: Vec<Pending>) {
    each_quietly(ending, "undo what a transaction had planned", actions, |action| {
        action.after_abort()
    });
}

/// Runs steps that must not raise. Their errors are logged.
fn each_quietly(ending: &Ending, what: &str, actions: Vec<Pending>, work: fn(Box<dyn AtEnd>)) {
    for pending in actions {
        let Err(reason) = ending.caught(|| work(pending.action)) else { continue };
        let line = Notice::log(format!("could not {what}: {reason}")).sqlstate(Kind::Internal);
        let _ = ending.caught(|| line.send());
    }
}
