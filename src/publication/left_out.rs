//! Warnings about publications of all tables or of schemas: what they leave out silently, and tables of
//! extensions that they contain.

use pgrx::datum::DatumWithOid;

use crate::caller::Caller;
use crate::check::{self, extension_tables, large_objects, unlogged};
use crate::error::Result;
use crate::notice::Notice;
use crate::server::{query, text};

/// Which tables the caller wanted to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// All tables of the database, although only the caller's may be published.
    All,
    /// All tables of some schemas.
    Schemas,
}

/// Warns of tables that the new publication lacks, or has although they should be left out.
pub fn warn(publication: &str, meant: Meant, caller: Caller) -> Result<()> {
    let unlogged = unlogged_tables(publication, meant, caller)?;
    if !unlogged.is_empty() {
        unlogged::warning(&unlogged).send();
    }
    let has_large_objects: Vec<bool> =
        query::column(&format!("SELECT {}", large_objects::COLUMN), &[])?;
    if has_large_objects == [true] {
        large_objects::warning("the database").send();
    }
    let of_extensions = extension_tables(publication)?;
    if !of_extensions.is_empty() {
        taken_in(&of_extensions).send();
    }
    Ok(())
}

fn taken_in(tables: &[String]) -> Notice {
    let what = format!("{} of extensions would be published", check::tables_text(tables));
    Notice::warning(what)
        .detail(format!("CREATE EXTENSION fills them on each server: {}.", check::listed(tables)))
        .hint(extension_tables::HINT)
}

/// Whether the publication $2 publishes the schema of a table c. These majors publish no schemas.
#[cfg(any(feature = "pg13", feature = "pg14"))]
const IS_IN_A_SCHEMA: &str = "false";
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17", feature = "pg18"))]
const IS_IN_A_SCHEMA: &str = "\
EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s \
          JOIN pg_catalog.pg_publication p ON p.oid OPERATOR(pg_catalog.=) s.pnpubid \
         WHERE s.pnnspid OPERATOR(pg_catalog.=) c.relnamespace \
           AND p.pubname OPERATOR(pg_catalog.=) $2)";

fn unlogged_tables(publication: &str, meant: Meant, caller: Caller) -> Result<Vec<String>> {
    let is_meant = match meant {
        Meant::All => "true",
        Meant::Schemas => IS_IN_A_SCHEMA,
    };
    labels(
        &format!(
            "c.relpersistence OPERATOR(pg_catalog.=) 'u' AND c.relkind OPERATOR(pg_catalog.=) 'r' \
             AND pg_catalog.pg_has_role($1, c.relowner, 'USAGE') \
             AND $2 OPERATOR(pg_catalog.=) $2 AND {is_meant}"
        ),
        publication,
        caller,
    )
}

fn extension_tables(publication: &str) -> Result<Vec<String>> {
    labels(
        "c.oid IN (SELECT t.relid FROM pg_catalog.pg_get_publication_tables($2::pg_catalog.text) t) \
         AND $1 OPERATOR(pg_catalog.=) $1 AND EXISTS ( \
             SELECT FROM pg_catalog.pg_depend d \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
                AND d.objid OPERATOR(pg_catalog.=) c.oid \
                AND d.deptype OPERATOR(pg_catalog.=) 'e')",
        publication,
        Caller::current()?,
    )
}

/// The tables that fulfil a condition on pg_class c, the caller's oid $1 and the publication's name $2.
fn labels(condition: &str, publication: &str, caller: Caller) -> Result<Vec<String>> {
    let label = text::as_utf8("pg_catalog.concat(n.nspname, '.', c.relname)");
    let found = query::read(
        &format!(
            "SELECT {label} FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
              WHERE {condition} ORDER BY n.nspname, c.relname"
        ),
        &[DatumWithOid::from(caller.oid()), publication.into()],
        |row| Ok(text::from_bytes(row.get(1)?)),
    )?;
    Ok(found.into_iter().flatten().collect())
}
