//! Slots and subscriptions live and die with the caller's transaction, however it ends.

pub mod counting;
mod ends;
mod plans;
mod rollbacks;
mod sessions;
