//! Unlogged tables. Their changes are not in the WAL, so they are never replicated. Publications of all
//! tables, or of a schema, leave them out silently. An unlogged partition of a published table is
//! copied, but its later changes are not replicated.

use pgmig_core::secret::shown;
use pgmig_core::sql;

use super::facts::Subject;
use super::finding::{Finding, NAMED, listed, tables_text};
use crate::error::{Error, Kind, Result};
use crate::notice::Notice;

/// Whether the table has an unlogged partition.
pub const COLUMN: &str = "\
l.oid IN (SELECT t.relid FROM pg_catalog.pg_class u \
           CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(u.oid) t \
           WHERE u.relpersistence OPERATOR(pg_catalog.=) 'u' AND u.relispartition \
             AND u.relkind OPERATOR(pg_catalog.=) 'r')";

/// Whether the database has any unlogged table. Only then are they searched.
pub const ANY: &str = "EXISTS (SELECT FROM pg_catalog.pg_class u \
    WHERE u.relpersistence OPERATOR(pg_catalog.=) 'u' AND u.relkind OPERATOR(pg_catalog.=) 'r')";

/// The names of the tables that the publications leave out: some more than a message shows.
pub fn left_out(major: u16, publications: &str) -> String {
    let of_schema = match major {
        15.. => {
            "OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s \
                         WHERE s.pnpubid OPERATOR(pg_catalog.=) q.oid \
                           AND s.pnnspid OPERATOR(pg_catalog.=) u.relnamespace)"
        }
        _ => "",
    };
    format!(
        "(SELECT pg_catalog.array_to_json(pg_catalog.array_agg(u.label)) FROM ( \
            SELECT pg_catalog.concat(n.nspname, '.', u.relname) AS label \
              FROM pg_catalog.pg_class u \
              JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) u.relnamespace \
             WHERE u.relpersistence OPERATOR(pg_catalog.=) 'u' \
               AND u.relkind OPERATOR(pg_catalog.=) 'r' AND NOT u.relispartition \
               AND EXISTS (SELECT FROM pg_catalog.pg_publication q \
                            WHERE q.pubname IN ({publications}) AND (q.puballtables {of_schema})) \
             ORDER BY 1 LIMIT {}) u)",
        10 * NAMED
    )
}

pub fn judge_published(subject: &Subject) -> Result<Option<Finding>> {
    let tables = subject.tables_with(|facts| facts.has_unlogged);
    if tables.is_empty() {
        return Ok(None);
    }
    let error = Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("changes of unlogged partitions of {} are not replicated", tables_text(&tables)),
    )
    .detail(format!("Rows would be missing later. On the publisher: {}.", listed(&tables)))
    .hint(
        "Run there, for each unlogged partition: ALTER TABLE … SET LOGGED; or take these tables out \
         of the publication.",
    );
    Ok(Some(Finding::Refusal(error)))
}

pub fn judge_left_out(subject: &Subject) -> Result<Option<Finding>> {
    let tables = &subject.server.unlogged;
    Ok((!tables.is_empty()).then(|| Finding::Warning(warning(tables))))
}

/// A warning that unlogged tables of the publisher are left out.
pub fn warning(tables: &[String]) -> Notice {
    let what = match tables {
        [table] => format!("unlogged table \"{}\" is not published", shown(table)),
        _ => format!("{} unlogged tables are not published", tables.len()),
    };
    let statement = match tables.first().and_then(|label| label.split_once('.')) {
        Some((schema, name)) if tables.len() == 1 => sql::qualified(schema, name),
        _ => "…".to_owned(),
    };
    Notice::warning(what)
        .detail(format!("Their rows are neither copied nor replicated: {}.", listed(tables)))
        .hint(format!(
            "To have it published, run on the publisher: ALTER TABLE {statement} SET LOGGED;"
        ))
}
