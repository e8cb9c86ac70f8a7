//! auto_explain for the caller's session: load it, and set what PostgreSQL leaves to superusers.
//!
//! Plans of statements inside functions that run as somebody else name tables, row counts and values
//! which the caller may not see, and PostgreSQL sends whatever it logs to a client that asks for it
//! by `client_min_messages`. Where a caller who is no superuser sets anything here, plans go to the
//! server's log alone.

use pgrx::prelude::*;

use crate::argument::Text;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, raise, required};
use crate::ffi::{activity, library};
use crate::session;

#[pg_extern(sql = false)]
fn auto_explain_load() {
    let run = || -> Result<()> {
        Caller::current()?;
        library::load(c"auto_explain");
        Ok(())
    };
    raise(run())
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_analyze(arg_parameter: Text) -> Option<String> {
    raise(set("log_analyze", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_buffers(arg_parameter: Text) -> Option<String> {
    raise(set("log_buffers", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_format(arg_parameter: Text) -> Option<String> {
    raise(set("log_format", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_min_duration(arg_parameter: Text) -> Option<String> {
    raise(set("log_min_duration", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_nested_statements(arg_parameter: Text) -> Option<String> {
    raise(set("log_nested_statements", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_timing(arg_parameter: Text) -> Option<String> {
    raise(set("log_timing", arg_parameter))
}

#[pg_extern(sql = false)]
fn set_auto_explain_log_verbose(arg_parameter: Text) -> Option<String> {
    raise(set("log_verbose", arg_parameter))
}

/// Sets a parameter for the session. Not loaded, the library would neither check the value nor act
/// by it, so it is loaded first.
fn set(parameter: &str, value: Text) -> Result<Option<String>> {
    let caller = Caller::current()?;
    let value = required("arg_parameter", value)?;
    library::load(c"auto_explain");
    if !caller.is_superuser() {
        check_that_plans_are_logged()?;
        activity::keep_plans_from_the_client();
    }
    session::set(&format!("auto_explain.{parameter}"), value, false)
}

/// What the server does not log passes by the hook that keeps it from the client.
fn check_that_plans_are_logged() -> Result<()> {
    let level = |parameter| Ok(session::setting(parameter)?.unwrap_or_default());
    let (plans, log) = (level("auto_explain.log_level")?, level("log_min_messages")?);
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
