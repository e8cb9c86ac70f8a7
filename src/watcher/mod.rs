//! The watcher: a launcher, one worker in each database that has subscriptions, and what they know
//! in shared memory. Only where the library is in shared_preload_libraries.

mod announce;
mod database;
pub mod errors;
mod launcher;
mod link;
mod question;
mod shared;
mod subscriber;
mod views;

use std::time::Instant;

use pgmig_core::lag::Micros;

use crate::ffi::worker;

pub fn install() {
    if worker::is_preloading() {
        shared::request();
        launcher::register();
    }
}

/// This machine's monotonic clock, the same in every process.
fn now() -> Micros {
    crate::ffi::wait::monotonic_micros()
}

/// When the next look is due: looks are taken on a grid, so that a slow one delays no other.
fn next_tick(last: Instant, interval: std::time::Duration) -> Instant {
    (last + interval).max(Instant::now())
}
