//! Keeps connection strings out of what others can read.
//!
//! A statement that carries one would show up in pg_stat_activity, in the STATEMENT line of an
//! error, in the CONTEXT of a surrounding function and in the line of log_min_duration_statement.
//! What `log_statement` writes before the statement runs is out of reach.

use crate::ffi::activity;

pub fn install() {
    activity::install_log_hook();
}

/// To be called first by every function that is given a connection string.
pub fn hide_statement(function: &str) {
    activity::hide_statement(&format!("SELECT pgmig_extras.{function}(<hidden>)"));
}
