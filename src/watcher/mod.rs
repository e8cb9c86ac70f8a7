//! The watcher: a launcher, a worker in each database that has enabled subscriptions, and their shared
//! memory. It exists only if the library is in shared_preload_libraries.

mod announce;
mod database;
mod launcher;
mod place;
mod process;
pub mod shared;
mod slot_position;
mod slots;
mod unwatched;

pub use place::Process;
pub use process::{CallAtCommit, Presence, presence};
pub use slot_position::{check_rest, resting};
pub use unwatched::Unwatched;

use crate::ffi::worker;

pub fn install() {
    if worker::is_preloading() && !worker::is_upgrading() {
        shared::request();
        launcher::register();
    }
}
