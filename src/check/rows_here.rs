//! Target tables that already have rows. The copy adds the publisher's rows: without a key they are
//! doubled, with a key the copy fails again and again.

use std::collections::HashMap;

use pgrx::pg_sys::Oid;

use super::facts::{Entry, Subject};
use super::finding::{Finding, NAMED, listed, tables_text};
use crate::error::Result;
use crate::ffi::heap;
use crate::notice::Notice;
use crate::server::query;

/// How many blocks of a table are read. A table whose rows were deleted may be large.
const BLOCKS: u32 = 1024;

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    if !subject.copy_data {
        return Ok(None);
    }
    let leaves = leaves(subject.tables)?;
    let has_rows = |table: &&Entry| match leaves.get(&table.target) {
        Some(leaves) => leaves.iter().any(|leaf| heap::has_row(*leaf, BLOCKS)),
        None => heap::has_row(table.target, BLOCKS),
    };
    // One more than the message names: then it says that there are more.
    let found = subject.tables.iter().filter(has_rows).take(NAMED + 1);
    let tables: Vec<_> = found.map(Entry::label).collect();
    Ok((!tables.is_empty()).then(|| Finding::Warning(warning(&tables))))
}

fn warning(tables: &[String]) -> Notice {
    let what = match tables.len() > NAMED {
        true => format!("more than {NAMED} tables have rows already"),
        false if tables.len() == 1 => format!("{} has rows already", tables_text(tables)),
        false => format!("{} have rows already", tables_text(tables)),
    };
    Notice::warning(what)
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

/// The partitions that hold the rows of each partitioned table.
fn leaves(tables: &[Entry]) -> Result<HashMap<Oid, Vec<Oid>>> {
    let roots =
        tables.iter().map(|table| table.target).filter(|table| heap::is_partitioned(*table));
    let roots: Vec<Oid> = roots.collect();
    if roots.is_empty() {
        return Ok(HashMap::new());
    }
    let mut leaves: HashMap<Oid, Vec<Oid>> = roots.iter().map(|root| (*root, Vec::new())).collect();
    let rows = query::read(
        "SELECT r.oid, t.relid FROM pg_catalog.unnest($1) r(oid) \
          CROSS JOIN LATERAL pg_catalog.pg_partition_tree(r.oid) t \
           JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relid \
          WHERE t.isleaf AND c.relkind OPERATOR(pg_catalog.=) 'r'",
        &[roots.into()],
        |row| Ok((query::not_null(&row, 1)?, query::not_null(&row, 2)?)),
    )?;
    for (root, leaf) in rows {
        leaves.entry(root).or_default().push(leaf);
    }
    Ok(leaves)
}
