//! The watcher: a launcher, one worker in each database that has enabled subscriptions, and what they know
//! in shared memory. Only where the library is in shared_preload_libraries.

mod announce;
pub mod catch_up;
mod database;
pub mod errors;
mod launcher;
mod link;
mod process;
mod question;
mod shared;
mod slots;
mod subscriber;
mod unwatched;
mod views;

pub use errors::last as last_error;
pub use process::call;
pub use subscriber::{Listed, unsubscribed};

use pgmig_core::lag::Micros;
use pgmig_core::lsn::Lsn;
use pgrx::pg_sys::Oid;

use crate::ffi::worker;

pub fn install() {
    if worker::is_preloading() && !worker::is_upgrading() {
        shared::request();
        launcher::register();
    }
}

/// This machine's monotonic clock, the same in every process.
fn now() -> Micros {
    crate::ffi::wait::monotonic_micros()
}

/// Where a disabled subscription's slot was last seen; `None` without preload, or if it was not.
pub fn resting(subscription: Oid) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.idle_slot_lsn())?
}

/// Tells where that slot is now. Returns where it rested, if somebody has moved it on since.
pub fn check_rest(subscription: Oid, confirmed: Lsn) -> Option<Lsn> {
    shared::track(subscription, |tracker| tracker.check_idle_slot(confirmed))?
}
