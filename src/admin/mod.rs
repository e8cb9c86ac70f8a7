//! Independent functions: each module has one subject and its SQL functions.

mod auto_explain;
mod explain;
mod operators;
mod pgaudit;
mod public_schema;
pub mod session;
mod standby_slot;
