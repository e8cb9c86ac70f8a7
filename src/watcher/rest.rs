//! Where the slot of a disabled subscription came to rest.

use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::shared;

/// Where a disabled subscription's slot was last seen; `None` without preload, or if it was not.
pub fn resting(subscription: Oid) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.idle_slot_lsn())?
}

/// Tells where that slot is now. Returns where it rested, if somebody has moved it on since.
pub fn check_rest(subscription: Oid, confirmed: Lsn) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.check_idle_slot(confirmed))?
}
