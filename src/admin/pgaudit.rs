//! Sets what pgaudit records for a database or a role. A superuser must grant these functions to each
//! role. The role that may run them decides what is recorded about others, so it must not decide about
//! itself.

use pgmig_core::secret::shown;
use pgmig_core::{name, sql};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use crate::admin::session;
use crate::argument::{Text, required};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied, entry, invalid};
use crate::ffi::major;
use crate::ffi::{database, identity};
use crate::server::query;

/// The parameters that decide how much is recorded. Not included are those that send records to clients
/// (`log_client`, `log_level`), and `role`, whose grants say which objects are audited.
const PARAMETERS: [&str; 10] = [
    "log",
    "log_catalog",
    "log_max_string_length",
    "log_nested_statements",
    "log_parameter",
    "log_parameter_max_size",
    "log_relation",
    "log_rows",
    "log_statement",
    "log_statement_once",
];

#[pg_extern(sql = false)]
fn set_pgaudit_parameter(arg_parameter: Text, arg_database: Text, arg_value: Text) {
    entry(|| {
        let caller = Caller::current()?;
        database::require_writable(c"set_pgaudit_parameter()");
        let parameter = parameter(arg_parameter)?;
        let database = required("arg_database", arg_database)?;
        let value = required("arg_value", arg_value)?;
        check_database(database, caller)?;
        set(&format!("DATABASE {}", sql::ident(database)), &parameter, value)
    })
}

#[pg_extern(sql = false)]
fn set_pgaudit_role_parameter(arg_parameter: Text, arg_role: Text, arg_value: Text) {
    entry(|| {
        let caller = Caller::current()?;
        database::require_writable(c"set_pgaudit_role_parameter()");
        let parameter = parameter(arg_parameter)?;
        let role = required("arg_role", arg_role)?;
        let value = required("arg_value", arg_value)?;
        check_role(role, caller)?;
        set(&format!("ROLE {}", sql::ident(role)), &parameter, value)
    })
}

fn set(whose: &str, parameter: &str, value: &str) -> Result<()> {
    query::execute(&format!("ALTER {whose} SET {parameter} = {}", sql::literal(value)), &[])
}

/// The parameter's full name. PostgreSQL accepts any name and value for a library that is not loaded.
/// Then nothing would be recorded, without any error.
fn parameter(name: Text) -> Result<String> {
    let name = required("arg_parameter", name)?;
    if !PARAMETERS.contains(&name) {
        return Err(invalid(format!("invalid pgaudit parameter: \"{}\"", shown(name)))
            .hint(format!("Use one of: {}.", PARAMETERS.join(", "))));
    }
    let parameter = format!("pgaudit.{name}");
    if session::setting(&parameter)?.is_some() {
        return Ok(parameter);
    }
    Err(Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("this server does not know parameter \"{}\"", shown(&parameter)),
    )
    .hint("A superuser loads pgaudit with shared_preload_libraries; not every version of it has every parameter."))
}

fn check_database(database: &str, caller: Caller) -> Result<()> {
    name::check("database", database)?;
    let owners = query::column::<Oid>(
        "SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) $1",
        &[database.into()],
    )?;
    let Some(owner) = owners.first().copied() else {
        return Err(missing("database", database));
    };
    if caller.is_superuser() {
        return Ok(());
    }
    if identity::is_superuser(owner) {
        return Err(
            denied(format_args!("database \"{database}\"")).detail("Its owner is a superuser.")
        );
    }
    if !caller.has_rights_of(owner) {
        return Err(denied(format_args!("database \"{database}\"")).detail(format!(
            "Role \"{}\" is not a member of its owner \"{}\".",
            caller.name(),
            identity::role_name(owner)
        )));
    }
    Ok(())
}

fn check_role(role: &str, caller: Caller) -> Result<()> {
    name::check("role", role)?;
    let roles = query::column::<Oid>(
        "SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) $1",
        &[role.into()],
    )?;
    let Some(oid) = roles.first().copied() else {
        return Err(missing("role", role));
    };
    if caller.is_superuser() {
        return Ok(());
    }
    let refused = |why: String| Err(denied(format_args!("role \"{role}\"")).detail(why));
    if oid == caller.oid() || oid == identity::session_user() {
        return refused("A role does not decide what is recorded of itself.".to_owned());
    }
    if identity::is_superuser(oid) {
        return refused("It is a superuser.".to_owned());
    }
    if !administers(caller, oid)? {
        return refused(format!("Role \"{}\" does not administer it.", caller.name()));
    }
    Ok(())
}

/// Whether ALTER ROLE would let the caller change the role's own settings.
fn administers(caller: Caller, role: Oid) -> Result<bool> {
    let answers = query::column::<bool>(
        "SELECT pg_catalog.pg_has_role($1, $2, 'MEMBER WITH ADMIN OPTION') \
             OR $3 AND r.rolcreaterole \
           FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) $1",
        &[caller.oid().into(), role.into(), major::CREATEROLE_ADMINISTERS_ALL.into()],
    )?;
    Ok(answers == [true])
}

fn missing(kind: &str, name: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("{kind} \"{}\" does not exist", shown(name)))
}
