//! Settings of the session that PostgreSQL leaves to superusers.

use pgmig_core::error::invalid;
use pgrx::prelude::*;

use crate::caller::Caller;
use crate::error::{Result, raise, required};
use crate::query;

const ROLES: [&str; 3] = ["origin", "replica", "local"];

/// Sets session_replication_role for the session, or to the end of the transaction.
#[pg_extern(sql = false)]
fn session_replication_role(
    arg_parameter: Option<&str>,
    arg_is_local: Option<bool>,
) -> Option<String> {
    raise(set_replication_role(arg_parameter, arg_is_local))
}

pub fn set_replication_role(role: Option<&str>, is_local: Option<bool>) -> Result<Option<String>> {
    Caller::current()?;
    let role = required("arg_parameter", role)?.to_ascii_lowercase();
    let is_local = required("arg_is_local", is_local)?;
    if !ROLES.contains(&role.as_str()) {
        return Err(invalid(format!("invalid session replication role: \"{role}\""))
            .hint(format!("Use one of: {}.", ROLES.join(", "))));
    }
    set("session_replication_role", &role, is_local)
}

fn set(parameter: &str, value: &str, is_local: bool) -> Result<Option<String>> {
    let set = query::column(
        "SELECT pg_catalog.set_config($1, $2, $3)",
        &[parameter.into(), value.into(), is_local.into()],
    )?;
    Ok(set.into_iter().next())
}
