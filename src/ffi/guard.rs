//! The event trigger that guards subscriptions on 15: whether it exists, and the lock that keeps it.
//! Called by `subscription/guard.rs`, inside a transaction.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::catalog::{self, Form};

const EVENT_TRIGGER: Oid = pg_sys::EventTriggerRelationId;

// SAFETY: the server's own struct of pg_event_trigger's fixed columns, which are all NOT NULL.
unsafe impl Form for pg_sys::FormData_pg_event_trigger {
    const CATALOG: Oid = EVENT_TRIGGER;
}

/// What a transaction does with the guard of this database's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Makes a subscription that needs it.
    InUse,
    Dropped,
}

/// Locks the event trigger to the end of the transaction: several transactions may rely on it, or one
/// may drop it.
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
pub fn exists(names: &[String]) -> bool {
    let found = catalog::scan(|form: &pg_sys::FormData_pg_event_trigger| {
        // SAFETY: a name is NUL-terminated within its 64 bytes.
        let name = unsafe { CStr::from_ptr(form.evtname.data.as_ptr()) };
        let fires_always = form.evtenabled as u8 == b'A';
        fires_always && names.iter().any(|wanted| name.to_bytes() == wanted.as_bytes())
    });
    found.contains(&true)
}
