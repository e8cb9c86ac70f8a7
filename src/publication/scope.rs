//! Who may publish all tables, or all tables of a schema: what PostgreSQL leaves to superusers.

use pgmig_core::publication::Published;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result, denied};
use crate::query;
use crate::table::label;

/// The database's owner, and since 14 members of pg_read_all_data.
pub fn may_publish_all_tables(caller: Caller) -> Result<bool> {
    let roles: Vec<Oid> = query::column(
        "SELECT r.oid FROM pg_catalog.pg_roles r \
          WHERE r.rolname OPERATOR(pg_catalog.=) 'pg_read_all_data' \
             OR r.oid OPERATOR(pg_catalog.=) ( \
                SELECT d.datdba FROM pg_catalog.pg_database d \
                 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        &[],
    )?;
    Ok(roles.into_iter().any(|role| caller.has_rights_of(role)))
}

/// What FOR ALL TABLES would publish now, if all of it is the caller's. Partitions come with their
/// root; an extension's tables that are not the caller's are made by CREATE EXTENSION on the target.
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
                "Ask the owner of the database or a member of \"pg_read_all_data\" to run this \
                 function, or name your own tables.",
            ));
    }
    Ok(tables.into_iter().map(OwnedTable::published).collect())
}

/// A schema's publication takes in tables that are made later, by whoever may make them: the caller
/// must own the schema and every table in it, and nobody else may create any. Whoever grants CREATE
/// later on publishes what the grantee makes.
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
        "SELECT n.nspname::pg_catalog.text, n.nspowner FROM pg_catalog.pg_namespace n \
          WHERE n.nspname OPERATOR(pg_catalog.=) ANY ($1)",
        &[schemas],
        |row| Ok((row.get::<String>(1)?.unwrap_or_default(), row.get(2)?.unwrap_or(Oid::INVALID))),
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

/// Refuses schemas in which anyone but their owner and the caller may create tables.
fn check_creators(schemas: DatumWithOid, caller: Caller) -> Result<()> {
    let creators = query::rows(
        "SELECT n.nspname::pg_catalog.text, \
                COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC') \
           FROM pg_catalog.pg_namespace n \
          CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a \
           LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee \
          WHERE n.nspname OPERATOR(pg_catalog.=) ANY ($1) \
            AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE' \
            AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner \
            AND a.grantee OPERATOR(pg_catalog.<>) $2 \
            AND r.rolsuper IS NOT TRUE",
        &[schemas, DatumWithOid::from(caller.oid())],
        |row| {
            Ok((
                row.get::<String>(1)?.unwrap_or_default(),
                row.get::<String>(2)?.unwrap_or_default(),
            ))
        },
    )?;
    match creators.into_iter().next() {
        Some((schema, grantee)) => {
            Err(denied(format_args!("the publication of schema \"{schema}\""))
                .detail(format!("{grantee} may create tables in it, which would be published."))
                .hint(format!(
                    "REVOKE CREATE ON SCHEMA {} FROM {grantee}, or name your own tables.",
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
    query::rows(
        &format!(
            "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relowner \
               FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{{r,p}}'::\"char\"[]) AND {condition} \
              ORDER BY n.nspname, c.relname"
        ),
        &[argument],
        |row| {
            Ok(OwnedTable {
                schema: row.get(1)?.unwrap_or_default(),
                table: row.get(2)?.unwrap_or_default(),
                owner: row.get(3)?.unwrap_or(Oid::INVALID),
            })
        },
    )
}
