//! auto_explain for the caller's session: loads it, and sets its parameters, which PostgreSQL leaves to
//! superusers.
//!
//! Plans of statements inside another user's functions contain table names, row counts and values that
//! the caller may not see. PostgreSQL sends log lines to a client whose `client_min_messages` asks for
//! them. So if a caller who is no superuser loads it or sets a parameter here, plans go to the server's
//! log only. Loading is enough for that, because the configuration may already ask for plans.
//!
//! Plans of statements inside functions that run as somebody else name tables, row counts and values
//! which the caller may not see, and PostgreSQL sends whatever it logs to a client that asks for it
//! by `client_min_messages`. Where a caller who is no superuser loads it or sets anything here, plans go
//! to the server's log alone: the configuration may already ask for plans, so loading is enough.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::admin::session;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, entry};
use crate::ffi::{activity, library, settings};

#[pg_extern(sql = false)]
fn auto_explain_load() {
    entry(|| Caller::current().and_then(load))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_analyze(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_analyze", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_buffers(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_buffers", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_format(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_format", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_min_duration(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_min_duration", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_nested_statements(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_nested_statements", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_timing(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_timing", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_verbose(arg_parameter: Text) -> Option<String> {
    entry(|| set("log_verbose", arg_parameter))
}

/// Sets a parameter for the session. The library is loaded first, because otherwise it would not check
/// the value.
fn set(parameter: &str, value: Text) -> Result<Option<String>> {
    let caller = Caller::current()?;
    let value = required("arg_parameter", value)?;
    load(caller)?;
    session::set(&format!("auto_explain.{parameter}"), value, false)
}

fn load(caller: Caller) -> Result<()> {
    if caller.is_superuser() {
        library::load_auto_explain();
        return Ok(());
    }
    // This is done before loading: the library stays loaded even if this raises an error.
    check_that_plans_are_logged(configured(c"auto_explain.log_level")?)?;
    activity::keep_plans_from_the_client();
    library::load_auto_explain();
    check_that_plans_are_logged(session::setting("auto_explain.log_level")?)
}

/// The configuration's value of a parameter. A value that the caller set before the library was loaded
/// is not taken by the library, so it must not hide the configuration's.
fn configured(parameter: &'static CStr) -> Result<Option<String>> {
    let name = parameter.to_string_lossy();
    Ok(session::setting(&name)?.and_then(|_| settings::reset_value(parameter)))
}

/// A report that the server does not log does not reach the hook that keeps it from the client. If no
/// level is set, auto_explain's default counts.
fn check_that_plans_are_logged(level: Option<String>) -> Result<()> {
    let plans = level.filter(|level| !level.is_empty()).unwrap_or_else(|| "log".to_owned());
    let log = session::setting("log_min_messages")?.unwrap_or_default();
    if plans == "log" && log != "fatal" && log != "panic" {
        return Ok(());
    }
    Err(Error::new(
        Kind::ObjectNotInPrerequisiteState,
        "plans would go to the client and not to the server's log",
    )
    .detail(format!("auto_explain.log_level is \"{plans}\", log_min_messages is \"{log}\"."))
    .hint("Ask a superuser to set auto_explain.log_level to log and log_min_messages to error or lower."))
}
