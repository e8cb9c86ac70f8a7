//! The SQL functions of publications.
//!
//! A new publication is created with the extension's rights, without tables, and given to the caller.
//! Tables are then added with the caller's rights: PostgreSQL itself checks who owns them, under its
//! own locks, and code that runs while a row filter is analysed has no more rights than its author.
//! (For example, a literal of a domain over a type calls the functions of the domain's CHECK.)

use pgmig_core::publication::{Actions, Options, Published, Scope, Spec, TableSpec};
use pgmig_core::secret::shown;
use pgmig_core::{name, publication, sql};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;

use super::left_out::{self, Meant};
use super::replica_identity::Policy;
use super::scope::{self, Right};
use super::tables;
use crate::argument::{Json, Text, Texts, not_null, required};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied, entry, invalid};
use crate::ffi::MAJOR;
use crate::ffi::identity;
use crate::ffi::role::as_role;
use crate::notice::Notice;
use crate::server::query;

#[pg_extern(sql = false)]
fn pg_create_publication(arg_publication_name: Text, arg_publish: Text, arg_tables: Texts) {
    entry(|| {
        let tables = required("arg_tables", arg_tables)?;
        publish_tables(arg_publication_name, arg_publish, tables)
    })
}

pub fn publish_tables(name: Text, publish: Text, tables: Vec<Option<String>>) -> Result<()> {
    let caller = Caller::current()?;
    let name = publication_name("arg_publication_name", name)?;
    let options = publishing(publish)?;
    let tables = tables::resolve(&table_names("arg_tables", tables)?, caller)?;
    create(name, Scope::Nothing, options, &tables, caller)?;
    Policy::Warn.apply(name)
}

#[pg_extern(sql = false)]
fn pg_create_publication_for_all_tables(arg_publication_name: Text, arg_publish: Text) {
    entry(|| publish_all_tables(arg_publication_name, arg_publish))
}

pub fn publish_all_tables(name: Text, publish: Text) -> Result<()> {
    let name = publication_name("arg_publication_name", name)?;
    let caller = Caller::current()?;
    create_for_all_tables(name, publishing(publish)?, caller)?;
    left_out::warn(name, Meant::All, caller)?;
    Policy::Warn.apply(name)
}

#[pg_extern(sql = false)]
fn create_publication(name: Text, spec: Json) {
    entry(|| {
        let caller = Caller::current()?;
        let name = publication_name("name", name)?;
        let spec = Spec::parse(required("spec", spec)?, MAJOR)?;
        if spec.all_tables {
            create_for_all_tables(name, spec.options(), caller)?;
            left_out::warn(name, Meant::All, caller)?;
        } else {
            let tables = tables::resolve(&spec.tables, caller)?;
            create(name, Scope::Schemas(&spec.schemas), spec.options(), &tables, caller)?;
        }
        if !spec.schemas.is_empty() {
            left_out::warn(name, Meant::Schemas, caller)?;
        }
        Policy::of(&spec).apply(name)
    })
}

#[pg_extern(sql = false)]
fn alter_publication_add_tables(name: Text, tables: Texts) {
    entry(|| {
        let caller = Caller::current()?;
        let name = own_publication(name, caller)?;
        let tables =
            tables::resolve(&some_table_names("tables", required("tables", tables)?)?, caller)?;
        add_tables(name, &tables, caller)?;
        Policy::Warn.apply(name)
    })
}

#[pg_extern(sql = false)]
fn alter_publication_drop_tables(name: Text, tables: Texts) {
    entry(|| {
        let caller = Caller::current()?;
        let name = own_publication(name, caller)?;
        let tables = some_table_names("tables", required("tables", tables)?)?;
        let tables = tables.iter().map(tables::parse_name).collect::<Result<Vec<_>>>()?;
        execute_as(caller, &publication::drop_tables(name, &tables))
    })
}

#[pg_extern(sql = false)]
fn drop_publication(name: Text) {
    entry(|| {
        let caller = Caller::current()?;
        let name = publication_name("name", name)?;
        let statement = format!("DROP PUBLICATION {}", sql::ident(name));
        if was_made_for(name, caller)? {
            return query::execute(&statement, &[]);
        }
        check_owner(name, caller)?;
        execute_as(caller, &statement)
    })
}

fn create_for_all_tables(name: &str, options: Options, caller: Caller) -> Result<()> {
    match scope::right_to_all_tables(options, caller)? {
        Some(Right::Owner) => return create(name, Scope::AllTables, options, &[], caller),
        Some(Right::Reader) => return create_for_reader(name, options, caller),
        None => {}
    }
    let tables = scope::all_tables(caller)?;
    create(name, Scope::Nothing, options, &tables, caller)?;
    let tables = tables.len();
    Notice::info(format!("publication \"{name}\" publishes the tables that exist now ({tables})"))
        .hint("Add later ones with ALTER PUBLICATION … ADD TABLE.")
        .send();
    Ok(())
}

/// The publication stays with the extension's owner: if the reader owned it, the reader could add
/// updates and deletes later. A comment on it names the role that may drop it with `drop_publication`.
fn create_for_reader(name: &str, options: Options, caller: Caller) -> Result<()> {
    query::execute(&publication::create(name, Scope::AllTables, options), &[])?;
    let mark = sql::literal(&format!("{READER_MARK}{}", caller.oid().to_u32()));
    query::execute(&format!("COMMENT ON PUBLICATION {} IS {mark}", sql::ident(name)), &[])
}

/// The start of that comment. The role's oid follows.
const READER_MARK: &str = "pgmig_extras: may be dropped by role ";

/// Whether a publication was made for a reader whose rights the caller has. Only comments on a
/// superuser's publications count, because other owners choose their comments themselves.
fn was_made_for(name: &str, caller: Caller) -> Result<bool> {
    let found = query::column::<Oid>(
        "SELECT r.oid FROM pg_catalog.pg_publication p \
           JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) p.pubowner AND o.rolsuper \
           JOIN pg_catalog.pg_roles r \
             ON pg_catalog.obj_description(p.oid, 'pg_publication') OPERATOR(pg_catalog.=) \
                pg_catalog.concat($2, r.oid) \
          WHERE p.pubname OPERATOR(pg_catalog.=) $1 AND p.puballtables",
        &[name.into(), READER_MARK.into()],
    )?;
    Ok(found.into_iter().any(|reader| caller.has_rights_of(reader)))
}

/// Creates a publication that the caller owns.
fn create(
    name: &str,
    scope: Scope,
    options: Options,
    tables: &[Published],
    caller: Caller,
) -> Result<()> {
    query::execute(&publication::create(name, scope, options), &[])?;
    if let Scope::Schemas(schemas) = scope {
        scope::check_schemas(schemas, caller)?;
    }
    let (publication, owner) = (sql::ident(name), sql::ident(&caller.name()));
    query::execute(&format!("ALTER PUBLICATION {publication} OWNER TO {owner}"), &[])?;
    add_tables(name, tables, caller)
}

fn add_tables(name: &str, tables: &[Published], caller: Caller) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    execute_as(caller, &publication::add_tables(name, tables))
}

fn execute_as(caller: Caller, statement: &str) -> Result<()> {
    as_role(caller.oid(), || query::execute(statement, &[]))
}

/// The name of a publication that the caller owns. PostgreSQL checks the owner again; this error has
/// more detail.
fn own_publication<'a>(name: Text<'a>, caller: Caller) -> Result<&'a str> {
    let name = publication_name("name", name)?;
    check_owner(name, caller)?;
    Ok(name)
}

fn check_owner(name: &str, caller: Caller) -> Result<()> {
    let owner = owner(name)?.ok_or_else(|| {
        Error::new(Kind::UndefinedObject, format!("publication \"{}\" does not exist", shown(name)))
    })?;
    if caller.has_rights_of(owner) {
        return Ok(());
    }
    let owner = identity::role_name(owner);
    Err(denied(format_args!("publication \"{name}\""))
        .detail(format!("Role \"{}\" is not a member of its owner \"{owner}\".", caller.name()))
        .hint(format!("Ask a member of \"{owner}\" to run this function.")))
}

fn owner(publication: &str) -> Result<Option<Oid>> {
    let owners = query::column(
        "SELECT p.pubowner FROM pg_catalog.pg_publication p \
          WHERE p.pubname OPERATOR(pg_catalog.=) $1",
        &[publication.into()],
    )?;
    Ok(owners.into_iter().next())
}

fn publication_name<'a>(argument: &str, name: Text<'a>) -> Result<&'a str> {
    let name = required(argument, name)?;
    name::check("publication", name)?;
    Ok(name)
}

fn publishing(list: Text) -> Result<Options> {
    Ok(Options::publishing(Actions::parse(required("arg_publish", list)?)?))
}

fn table_names(argument: &str, names: Vec<Option<String>>) -> Result<Vec<TableSpec>> {
    names.into_iter().map(|name| Ok(TableSpec::named(not_null(argument, name)?))).collect()
}

fn some_table_names(argument: &str, names: Vec<Option<String>>) -> Result<Vec<TableSpec>> {
    let names = table_names(argument, names)?;
    if names.is_empty() {
        return Err(invalid("no table is named"));
    }
    Ok(names)
}
