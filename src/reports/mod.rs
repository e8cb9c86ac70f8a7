//! What workers of subscriptions report as they fail, in shared memory.

mod last;

pub use last::{Reports, failures, forget_over, has_tables, keep, keep_cause, keep_shortage, last};
