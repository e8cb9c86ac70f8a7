//! What waits for the end of the caller's transaction. Remote slots and replication origins are not
//! transactional; here they are made to live and die with the transaction that asked.
//!
//! | when | what |
//! |---|---|
//! | before the commit record | new slots become permanent, connections for drops are checked, origins go |
//! | after it | slots are dropped; what can't be is a WARNING: nothing may be raised any more |
//! | rollback, also to a savepoint | connections are closed, and temporary slots go with them |

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Kind, raise};
use crate::ffi::catalog;
use crate::ffi::transaction::{self as ffi, Event, SubEvent};
use crate::publisher::Mark;
use crate::slot::{DoomedSlots, NewSlot};

pub enum Action {
    KeepSlot(NewSlot),
    DropSlots(DoomedSlots),
    DropOrigin(String),
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
            Self::DropSlots(slots) if slots.names.iter().any(|slot| slot == name) => {
                Some((Plan::Drop, slots.publisher.mark()))
            }
            _ => None,
        }
    }
}

struct Pending {
    subtransaction: u32,
    action: Action,
}

thread_local! {
    static PENDING: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
    /// Of the transaction that is being committed, until its locks are released.
    static COMMITTED: RefCell<Vec<Pending>> = const { RefCell::new(Vec::new()) };
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

pub fn on_event(event: Event) {
    match event {
        Event::PreCommit => before_commit(),
        Event::PrePrepare => refuse_prepare(),
        Event::Commit => COMMITTED.set(take()),
        Event::Released => {
            quietly(|| COMMITTED.take().into_iter().for_each(|p| after_commit(p.action)));
        }
        Event::Abort => quietly(|| take().into_iter().for_each(|p| after_abort(p.action))),
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
            quietly(|| undone.into_iter().for_each(|p| after_abort(p.action)));
        }
    }
}

fn take() -> Vec<Pending> {
    PENDING.take()
}

/// What can still fail comes first; dropping origins, which no rollback undoes, comes last.
fn before_commit() {
    let mut all = Taken(take());
    for pending in &mut all.0 {
        match &mut pending.action {
            Action::KeepSlot(slot) => raise(slot.keep()),
            Action::DropSlots(slots) => raise(slots.check()),
            Action::DropOrigin(_) => {}
        }
    }
    for pending in &all.0 {
        if let Action::DropOrigin(name) = &pending.action {
            catalog::drop_origin(name);
        }
    }
}

/// Actions at work. Put back when dropped, so that the end of the transaction finds them, also when
/// a step raised.
struct Taken(Vec<Pending>);

impl Drop for Taken {
    fn drop(&mut self) {
        PENDING.set(std::mem::take(&mut self.0));
    }
}

fn refuse_prepare() {
    if PENDING.with_borrow(|pending| !pending.is_empty()) {
        raise(Err(Error::new(
            Kind::FeatureNotSupported,
            "cannot PREPARE a transaction that creates or drops a replication slot of a publisher",
        )
        .hint("Use COMMIT.")))
    }
}

fn after_commit(action: Action) {
    match action {
        Action::DropSlots(slots) => slots.drop_now(),
        // Closing the connection ends the temporary slot that it was copied from.
        Action::KeepSlot(_) | Action::DropOrigin(_) => {}
    }
}

fn after_abort(action: Action) {
    if let Action::KeepSlot(slot) = action {
        slot.give_up();
    }
}

/// The transaction is over: nothing may be raised, whatever happens.
fn quietly(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}
