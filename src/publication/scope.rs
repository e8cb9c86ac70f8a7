//! Who may publish all tables, or all tables of a schema. PostgreSQL allows that to superusers only.

use pgmig_core::publication::{Options, Published};
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use crate::argument::require_readable;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied};
use crate::server::table::label;
use crate::server::{query, text};

/// Why a role may publish all tables, including those that are created later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// With the rights of the database's owner.
    Owner,
    /// As a member of pg_read_all_data: only without updates and deletes.
    Reader,
}

/// On a published table without a usable replica identity, its owner's updates and deletes fail. Others
/// may create such tables later, or drop keys. So a reader may publish neither updates nor deletes.
pub fn right_to_all_tables(options: Options, caller: Caller) -> Result<Option<Right>> {
    let owners: Vec<Oid> = query::column(
        "SELECT d.datdba FROM pg_catalog.pg_database d \
          WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
        &[],
    )?;
    if owners.into_iter().any(|owner| caller.has_rights_of(owner)) {
        return Ok(Some(Right::Owner));
    }
    let is_reader = !options.need_replica_identity() && reads_all_tables(caller)?;
    Ok(is_reader.then_some(Right::Reader))
}

/// pg_read_all_data exists since 14.
fn reads_all_tables(caller: Caller) -> Result<bool> {
    let readers: Vec<Oid> = query::column(
        "SELECT r.oid FROM pg_catalog.pg_roles r \
          WHERE r.rolname OPERATOR(pg_catalog.=) 'pg_read_all_data'",
        &[],
    )?;
    Ok(readers.into_iter().any(|role| caller.has_rights_of(role)))
}

/// The tables that FOR ALL TABLES would publish now, if the caller owns all of them. Partitions come
/// with their root. Tables of extensions that the caller does not own are left out: CREATE EXTENSION
/// makes them on the target.
pub fn all_tables(caller: Caller) -> Result<Vec<Published>> {
    let tables = owned_tables(
        "c.relpersistence OPERATOR(pg_catalog.=) 'p' AND NOT c.relispartition \
         AND c.oid OPERATOR(pg_catalog.>=) 16384 \
         AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema' \
         AND (pg_catalog.pg_has_role($1, c.relowner, 'USAGE') OR NOT EXISTS ( \
              SELECT FROM pg_catalog.pg_depend d \
               WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
                 AND d.objid OPERATOR(pg_catalog.=) c.oid \
                 AND d.deptype OPERATOR(pg_catalog.=) 'e'))",
        DatumWithOid::from(caller.oid()),
    )?;
    if let Some(foreign) = tables.iter().find(|table| !caller.has_rights_of(table.owner)) {
        return Err(denied("the publication of all tables")
            .detail(foreign.not_the_callers())
            .hint(
                "Ask the owner of the database to run this function, or name your own tables. A \
                 member of \"pg_read_all_data\" can publish inserts and truncates of all tables.",
            ));
    }
    Ok(tables.into_iter().map(OwnedTable::published).collect())
}

/// A publication of a schema gets tables that are created later, by any role that may create tables
/// there. So the caller must have the rights of the schema's owner, of every table's owner, and of
/// every role that may create tables there. A role that lets others create tables there later publishes
/// what they create.
pub fn check_schemas(schemas: &[String], caller: Caller) -> Result<()> {
    if schemas.is_empty() || caller.is_superuser() {
        return Ok(());
    }
    let names = || DatumWithOid::from(schemas.to_vec());
    check_schema_owners(names(), caller)?;
    check_creators(names(), caller)?;
    let tables = owned_tables("n.nspname OPERATOR(pg_catalog.=) ANY ($1)", names())?;
    match tables.iter().find(|table| !caller.has_rights_of(table.owner)) {
        Some(foreign) => {
            Err(denied(format_args!("the publication of schema \"{}\"", foreign.schema))
                .detail(foreign.not_the_callers())
                .hint("Name your own tables instead of the schema."))
        }
        None => Ok(()),
    }
}

fn check_schema_owners(schemas: DatumWithOid, caller: Caller) -> Result<()> {
    let owners = query::rows(
        &format!(
            "SELECT {schema}, n.nspowner FROM pg_catalog.pg_namespace n \
              WHERE n.nspname OPERATOR(pg_catalog.=) ANY ($1)",
            schema = text::as_utf8("n.nspname::pg_catalog.text"),
        ),
        &[schemas],
        |row| {
            let owner: Oid = query::not_null(&row, 2)?;
            Ok((text::not_null(&row, 1)?, owner))
        },
    )?;
    match owners.iter().find(|(_, owner)| !caller.has_rights_of(*owner)) {
        Some((schema, _)) => Err(Error::new(
            Kind::InsufficientPrivilege,
            format!("must be owner of schema \"{schema}\""),
        )
        .detail(format!("Role \"{}\" does not have the rights of its owner.", caller.name()))
        .hint("Ask its owner to run this function, or name your own tables.")),
        None => Ok(()),
    }
}

/// Refuses a schema if a role may create tables in it whose rights the caller lacks. The role may have
/// a grant, be a member of a role with a grant, or be a member of the schema's owner; it owns the
/// tables that it creates.
fn check_creators(schemas: DatumWithOid, caller: Caller) -> Result<()> {
    let creators = query::rows(
        &format!(
            "SELECT {schema}, {creator} \
           FROM pg_catalog.pg_namespace n \
          CROSS JOIN LATERAL ( \
                SELECT 'PUBLIC', 0 FROM pg_catalog.aclexplode(n.nspacl) a \
                 WHERE a.grantee OPERATOR(pg_catalog.=) 0 \
                   AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE' \
                 UNION ALL \
                SELECT pg_catalog.quote_ident(r.rolname), 1 FROM pg_catalog.pg_roles r \
                 WHERE NOT r.rolsuper \
                   AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE') \
                   AND NOT pg_catalog.pg_has_role($2, r.oid, 'USAGE')) creator(name, rank) \
          WHERE n.nspname OPERATOR(pg_catalog.=) ANY ($1) \
          ORDER BY n.nspname, creator.rank, creator.name LIMIT 1",
            schema = text::as_utf8("n.nspname::pg_catalog.text"),
            creator = text::as_utf8("creator.name"),
        ),
        &[schemas, DatumWithOid::from(caller.oid())],
        |row| Ok((text::not_null(&row, 1)?, text::not_null(&row, 2)?)),
    )?;
    match creators.into_iter().next() {
        Some((schema, creator)) => {
            Err(denied(format_args!("the publication of schema \"{schema}\""))
                .detail(format!("{creator} may create tables in it, which would be published."))
                .hint(format!(
                    "Take CREATE on schema {} from {creator}, also where a group or the ownership \
                     of the schema gives it, or name your own tables.",
                    pgmig_core::sql::ident(&schema)
                )))
        }
        None => Ok(()),
    }
}

struct OwnedTable {
    schema: String,
    table: String,
    owner: Oid,
}

impl OwnedTable {
    fn not_the_callers(&self) -> String {
        format!("Table \"{}\" belongs to another role.", label(&self.schema, &self.table))
    }

    fn published(self) -> Published {
        let Self { schema, table, .. } = self;
        Published { schema, table, only: true, ..Published::default() }
    }
}

/// Ordinary and partitioned tables that fulfil a condition on pg_class c and pg_namespace n.
fn owned_tables(condition: &str, argument: DatumWithOid) -> Result<Vec<OwnedTable>> {
    let tables = query::rows(
        &format!(
            "SELECT {schema}, {table}, c.relowner \
               FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p}}'::\"char\"[]) AND {condition} \
              ORDER BY n.nspname, c.relname",
            schema = text::as_utf8("n.nspname::pg_catalog.text"),
            table = text::as_utf8("c.relname::pg_catalog.text"),
        ),
        &[argument],
        |row| {
            Ok(OwnedTable {
                schema: text::not_null(&row, 1)?,
                table: text::not_null(&row, 2)?,
                owner: query::not_null(&row, 3)?,
            })
        },
    )?;
    for name in tables.iter().flat_map(|it| [&it.schema, &it.table]) {
        require_readable(name)?;
    }
    Ok(tables)
}
