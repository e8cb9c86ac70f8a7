//! The final position of a disabled subscription's slot.

use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use super::shared;

/// The last known position of a disabled subscription's slot. `None` without preload, or if it is not
/// known.
pub fn resting(subscription: Oid) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.idle_slot_lsn())?
}

/// Compares the slot's present position with the last known one. Returns the latter if somebody has
/// moved the slot.
pub fn check_rest(subscription: Oid, confirmed: Lsn) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.check_idle_slot(confirmed))?
}
