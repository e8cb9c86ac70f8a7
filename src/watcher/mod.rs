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
pub use subscriber::{Listed, unsubscribed};

use pgmig_core::lag::Micros;

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
