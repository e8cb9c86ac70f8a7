//! Operators: the roles that may run the functions that change something. An operator is a role with
//! EXECUTE on the functions that `operator_functions()` in sql/ lists.

use pgmig_core::secret::shown;
use pgmig_core::{name, sql};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied, entry, invalid};
use crate::ffi::relation;
use crate::server::query;

/// The keyword for all roles. No role can have this name.
const EVERYONE: &str = "public";

#[pg_extern(sql = false)]
fn grant_operator(role: Text) {
    entry(|| {
        let role = required("role", role)?;
        if role == EVERYONE {
            return Err(invalid("not every role can be an operator")
                .hint("Name each role that is to migrate, or a role that they are members of."));
        }
        change(role, |functions, role| format!("GRANT EXECUTE ON FUNCTION {functions} TO {role}"))
    })
}

#[pg_extern(sql = false)]
fn revoke_operator(role: Text) {
    entry(|| {
        change(required("role", role)?, |functions, role| {
            format!("REVOKE ALL ON FUNCTION {functions} FROM {role} CASCADE")
        })
    })
}

fn change(role: &str, statement: impl Fn(&str, &str) -> String) -> Result<()> {
    name::check("role", role)?;
    let (extension, owner) = extension()?;
    let caller = Caller::current()?;
    if !caller.has_rights_of(owner) {
        return Err(denied("the operators of extension \"pgmig_extras\"")
            .detail(format!("Role \"{}\" does not have the rights of its owner.", caller.name()))
            .hint("Ask a superuser to run this function."));
    }
    check_role(role)?;
    // GRANT takes no lock: two at the same time fail with "tuple concurrently updated".
    relation::lock_extension(extension);
    query::execute(&statement(&functions()?, &sql::ident(role)), &[])
}

fn extension() -> Result<(Oid, Oid)> {
    let extensions = query::rows(
        "SELECT e.oid, e.extowner FROM pg_catalog.pg_extension e \
          WHERE e.extname OPERATOR(pg_catalog.=) 'pgmig_extras'",
        &[],
        |row| Ok((row.get::<Oid>(1)?, row.get::<Oid>(2)?)),
    )?;
    match extensions.first() {
        Some((Some(oid), Some(owner))) => Ok((*oid, *owner)),
        _ => Err(Error::new(Kind::UndefinedObject, "extension \"pgmig_extras\" does not exist")),
    }
}

fn check_role(role: &str) -> Result<()> {
    let found: Vec<Oid> = query::column(
        "SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1",
        &[role.into()],
    )?;
    if found.is_empty() && role != EVERYONE {
        return Err(Error::new(
            Kind::UndefinedObject,
            format!("role \"{}\" does not exist", shown(role)),
        ));
    }
    Ok(())
}

/// The functions for a GRANT: qualified names with argument types, separated by commas.
fn functions() -> Result<String> {
    let functions: Vec<String> = query::column(
        "SELECT f.oid::pg_catalog.text FROM pgmig_extras.operator_functions() f(oid)",
        &[],
    )?;
    Ok(functions.join(", "))
}
