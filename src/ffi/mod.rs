//! The only unsafe code besides the exported entry points. Each file wraps one part of the server in
//! safe functions. An ERROR of PostgreSQL becomes a Rust panic at pgrx's guard, so destructors run, and
//! an ERROR again at the function's boundary. Nothing here uses another module of this crate.

#![allow(unsafe_code)]

pub mod activity;
pub mod argument;
pub mod call;
mod catalog;
pub mod database;
pub mod descriptor;
pub mod encoding;
pub mod event_trigger;
pub mod guard;
pub mod heap;
pub mod identity;
pub mod libpq;
pub mod library;
pub mod lsn;
pub mod major;
pub mod meter;
pub mod origin;
pub mod parser;
pub mod plan;
pub mod relation;
pub mod report;
pub mod role;
pub mod rows;
pub mod settings;
pub mod shared;
pub mod slots;
pub mod standby;
pub mod subscription;
pub mod task;
pub mod transaction;
pub mod translation;
pub mod wait;
pub mod worker;

pub use major::MAJOR;
