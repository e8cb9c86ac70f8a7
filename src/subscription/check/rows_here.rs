//! Target tables that have rows: a copy adds the publisher's. Without a key they are there twice, with
//! one the copy fails, again and again.

use std::collections::HashMap;

use pgrx::pg_sys::Oid;

use super::{Entry, Finding, NAMED, Subject, listed, tables_text};
use crate::error::{Error, Kind, Result};
use crate::ffi::heap;
use crate::query;

/// How many blocks of a table are looked at: one that was emptied by DELETE may be large.
const BLOCKS: u32 = 1024;

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    if !subject.copy_data {
        return Ok(None);
    }
    let stored = stored_tables(subject.tables)?;
    let has_rows = |table: &&Entry| {
        let parts = stored.get(&table.target).into_iter().flatten();
        parts.into_iter().any(|part| heap::has_row(*part, BLOCKS))
    };
    // One more than are named says that there are more.
    let found = subject.tables.iter().filter(has_rows).take(NAMED + 1);
    let tables: Vec<_> = found.map(Entry::label).collect();
    Ok((!tables.is_empty()).then(|| Finding::Warning(warning(&tables))))
}

fn warning(tables: &[String]) -> Error {
    let what = match tables.len() > NAMED {
        true => format!("more than {NAMED} tables have rows already"),
        false if tables.len() == 1 => format!("{} has rows already", tables_text(tables)),
        false => format!("{} have rows already", tables_text(tables)),
    };
    Error::new(Kind::Warning, what)
        .detail(format!(
            "The publisher's are added: without a key some may be there twice, with one the copy \
             may fail. {}.",
            listed(tables)
        ))
        .hint(
            "Empty these tables first, or subscribe with copy_data = false if they have the \
             publisher's rows.",
        )
}

/// Of each table what holds its rows, itself or its partitions, where that is not empty in bytes.
fn stored_tables(tables: &[Entry]) -> Result<HashMap<Oid, Vec<Oid>>> {
    let oids: Vec<Oid> = tables.iter().map(|table| table.target).collect();
    let rows = query::read(
        "SELECT r.oid, c.oid FROM pg_catalog.pg_class r \
          CROSS JOIN LATERAL ( \
                SELECT r.oid UNION ALL SELECT t.relid FROM pg_catalog.pg_partition_tree(r.oid) t \
                 WHERE r.relkind OPERATOR(pg_catalog.=) 'p' AND t.isleaf) part(oid) \
           JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) part.oid \
          WHERE r.oid OPERATOR(pg_catalog.=) ANY ($1) AND c.relkind OPERATOR(pg_catalog.=) 'r' \
            AND pg_catalog.pg_relation_size(c.oid::pg_catalog.regclass) OPERATOR(pg_catalog.>) 0",
        &[oids.into()],
        |row| Ok((row.get::<Oid>(1)?, row.get::<Oid>(2)?)),
    )?;
    let mut parts: HashMap<Oid, Vec<Oid>> = HashMap::new();
    for (table, part) in rows {
        parts.entry(table.unwrap_or(Oid::INVALID)).or_default().extend(part);
    }
    Ok(parts)
}
