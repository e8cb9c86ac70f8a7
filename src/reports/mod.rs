//! The error reports of subscriptions' workers, in shared memory. It exists only if the library is in
//! shared_preload_libraries.

mod keep;
mod last;
mod memory;
mod record;

pub use keep::{failures, keep, keep_cause, keep_shortage};
pub use last::{forget_over, has_tables, last};
pub use memory::{keep_only, request};
