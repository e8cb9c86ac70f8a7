//! The schema "public". In databases of 14 and before, and in those upgraded from there, a superuser
//! owns it, although the database's owner owns everything else.

use pgmig_core::sql;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::caller::Caller;
use crate::error::{Result, denied, entry};
use crate::ffi::{database, identity};
use crate::server::query;

#[pg_extern(sql = false)]
fn claim_public_schema_ownership() {
    entry(|| {
        let caller = Caller::current()?;
        database::require_writable(c"claim_public_schema_ownership()");
        if !caller.is_superuser() {
            check_database(caller)?;
            check_schema(caller)?;
        }
        // PostgreSQL itself reports a missing schema.
        let owner = sql::ident(&caller.name());
        query::execute(&format!("ALTER SCHEMA public OWNER TO {owner}"), &[])
    })
}

fn check_database(caller: Caller) -> Result<()> {
    let owners = query::column::<Oid>(
        "SELECT d.datdba FROM pg_catalog.pg_database d \
          WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
        &[],
    )?;
    if owners.into_iter().all(|owner| caller.has_rights_of(owner)) {
        return Ok(());
    }
    Err(denied("schema \"public\"")
        .detail(format!(
            "Role \"{}\" does not have the rights of the database's owner.",
            caller.name()
        ))
        .hint("Ask the database's owner to run this function."))
}

/// If a role that is no superuser owns the schema, somebody wanted that, and it stays so.
fn check_schema(caller: Caller) -> Result<()> {
    let owners = query::column::<Oid>(
        "SELECT n.nspowner FROM pg_catalog.pg_namespace n \
          WHERE n.nspname OPERATOR(pg_catalog.=) 'public'",
        &[],
    )?;
    let may_take = |owner: &Oid| identity::is_superuser(*owner) || caller.has_rights_of(*owner);
    match owners.into_iter().find(|owner| !may_take(owner)) {
        None => Ok(()),
        Some(owner) => Err(denied("schema \"public\"")
            .detail(format!("It belongs to role \"{}\".", identity::role_name(owner)))
            .hint("Ask a superuser to change its owner.")),
    }
}
