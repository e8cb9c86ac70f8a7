//! Settings of the session, including those that PostgreSQL leaves to superusers.

use pgmig_core::error::invalid;
use pgmig_core::secret::shown;
use pgrx::prelude::*;

use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Kind, Result, entry};
use crate::server::{query, text};

const ROLES: [&str; 3] = ["origin", "replica", "local"];

/// Sets session_replication_role for the session, or to the end of the transaction.
#[pg_extern(sql = false)]
fn session_replication_role(arg_parameter: Text, arg_is_local: Option<bool>) -> Option<String> {
    entry(|| set_replication_role(arg_parameter, arg_is_local))
}

pub fn set_replication_role(role: Text, is_local: Option<bool>) -> Result<Option<String>> {
    Caller::current()?;
    let role = known_role(role).map_err(|error| match error.kind {
        Kind::InvalidParameter => error.hint(format!("Use one of: {}.", ROLES.join(", "))),
        _ => error,
    })?;
    let is_local = required("arg_is_local", is_local)?;
    set("session_replication_role", &role, is_local)
}

fn known_role(role: Text) -> Result<String> {
    let role = required("arg_parameter", role)?.to_ascii_lowercase();
    if !ROLES.contains(&role.as_str()) {
        return Err(invalid(format!("invalid session replication role: \"{}\"", shown(&role))));
    }
    Ok(role)
}

/// Sets a parameter with the rights of a superuser, and returns it as PostgreSQL shows it.
pub fn set(parameter: &str, value: &str, is_local: bool) -> Result<Option<String>> {
    let set = query::read(
        &format!("SELECT {}", text::as_utf8("pg_catalog.set_config($1, $2, $3)")),
        &[parameter.into(), value.into(), is_local.into()],
        |row| Ok(text::from_bytes(row.get(1)?)),
    )?;
    Ok(set.into_iter().flatten().next())
}

/// A parameter as PostgreSQL shows it; `None` for one that this server does not know.
pub fn setting(parameter: &str) -> Result<Option<String>> {
    let shown = query::read(
        &format!("SELECT {}", text::as_utf8("pg_catalog.current_setting($1, true)")),
        &[parameter.into()],
        |row| Ok(text::from_bytes(row.get(1)?)),
    )?;
    Ok(shown.into_iter().flatten().next())
}
