//! Tables of extensions. CREATE EXTENSION fills them on the target too, so the copy meets rows with the
//! same keys. Often they also belong to a superuser.

use pgrx::datum::DatumWithOid;

use pgmig_core::secret::shown;

use super::facts::{Entry, Subject};
use super::finding::{Finding, listed, tables_text};
use crate::error::{Error, Result};
use crate::ffi::relation;
use crate::notice::Notice;
use crate::server::query;
use crate::server::table::Table;

/// How to publish without such tables.
pub const HINT: &str = "Publish the other tables by name, with create_publication and \"tables\": \
                        CREATE EXTENSION makes these on each server.";

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    if !subject.copy_data {
        return Ok(None);
    }
    let tables = subject.tables.iter().filter(|table| relation::is_of_extension(table.target));
    let tables: Vec<_> = tables.map(Entry::label).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    let warning =
        Notice::warning(format!("{} of the publication is an extension's", tables_text(&tables)))
            .detail(format!(
                "Rows that the extension has put in are copied once more: {}.",
                listed(&tables)
            ))
            .hint(HINT);
    Ok(Some(Finding::Warning(warning)))
}

/// Adds to the error for another owner's table that the table is an extension's.
pub fn of_extension(table: &Table, error: Error) -> Result<Error> {
    let names: Vec<String> = query::column(
        "SELECT e.extname::pg_catalog.text FROM pg_catalog.pg_depend d \
           JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid \
          WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND d.refclassid OPERATOR(pg_catalog.=) \
                'pg_catalog.pg_extension'::pg_catalog.regclass \
            AND d.objsubid OPERATOR(pg_catalog.=) 0 AND d.deptype OPERATOR(pg_catalog.=) 'e' \
            AND d.objid OPERATOR(pg_catalog.=) $1",
        &[DatumWithOid::from(table.oid)],
    )?;
    Ok(match names.first() {
        Some(name) => {
            error.detail(format!("It is a table of extension \"{}\".", shown(name))).hint(HINT)
        }
        None => error,
    })
}
