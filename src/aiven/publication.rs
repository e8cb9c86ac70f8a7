//! Publications, as aiven_extras has them.

use pgrx::prelude::*;

use super::entry;
use crate::argument::{Text, Texts, required};
use crate::error::{Result, invalid};
use crate::publication;
use crate::server::query;

#[pg_extern(sql = false)]
fn aiven_pg_create_publication(arg_publication_name: Text, arg_publish: Text, arg_tables: Texts) {
    entry(|| {
        let tables = required("arg_tables", arg_tables)?;
        check_parts(&tables)?;
        publication::publish_tables(arg_publication_name, arg_publish, tables)
    })
}

#[pg_extern(sql = false)]
fn aiven_pg_create_publication_for_all_tables(arg_publication_name: Text, arg_publish: Text) {
    entry(|| publication::publish_all_tables(arg_publication_name, arg_publish))
}

/// Clients know this text.
fn check_parts(tables: &[Option<String>]) -> Result<()> {
    let names: Vec<String> = tables.iter().flatten().cloned().collect();
    let longer = query::read(
        "SELECT 1 FROM pg_catalog.unnest($1) t(name) \
          WHERE pg_catalog.cardinality(pg_catalog.parse_ident(t.name)) OPERATOR(pg_catalog.>) 2",
        &[names.into()],
        |_| Ok(()),
    )?;
    if longer.is_empty() {
        return Ok(());
    }
    Err(invalid("Only simple table names or tables qualified with schema names allowed"))
}
