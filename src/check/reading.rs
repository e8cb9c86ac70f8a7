//! The connection's role must be able to read the tables. Otherwise table sync fails again and again.

use pgmig_core::sql;

use super::facts::{Entry, Obstacle, Subject};
use super::finding::{Finding, listed, tables_text};
use super::published::is_published;
use crate::error::{Error, Kind, Result};

/// What `copy_table` (tablesync.c) reads: the columns that are published.
pub fn column(major: u16) -> String {
    format!(
        "CASE WHEN NOT pg_catalog.has_schema_privilege(l.namespace, 'USAGE') THEN 'schema' \
              WHEN pg_catalog.has_table_privilege(l.oid, 'SELECT') THEN NULL \
              WHEN pg_catalog.has_any_column_privilege(l.oid, 'SELECT') AND NOT EXISTS ( \
                   SELECT FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid OPERATOR(pg_catalog.=) l.oid \
                      AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND {} \
                      AND NOT pg_catalog.has_column_privilege(l.oid, a.attnum, 'SELECT')) THEN NULL \
              ELSE 'table' END",
        is_published(major)
    )
}

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let role = subject.role;
    let tables = subject.tables_with(|facts| facts.unreadable.is_some());
    let mut obstacles =
        subject.tables.iter().filter_map(|table| Some((table, table.offered.facts.unreadable?)));
    let Some((table, obstacle)) = obstacles.next().filter(|_| subject.copy_data) else {
        return Ok(None);
    };
    let error = Error::new(
        Kind::InsufficientPrivilege,
        format!("role \"{role}\" may not read {} on the publisher", tables_text(&tables)),
    )
    .detail(format!("The copy would fail: {}.", listed(&tables)))
    .hint(format!("Run this there: {}", remedy(obstacle, table, role)));
    Ok(Some(Finding::Refusal(error)))
}

fn remedy(obstacle: Obstacle, table: &Entry, role: &str) -> String {
    let (schema, name) = (&table.offered.schema, &table.offered.name);
    let role = sql::ident(role);
    match obstacle {
        Obstacle::Schema => format!("GRANT USAGE ON SCHEMA {} TO {role};", sql::ident(schema)),
        Obstacle::Table => format!("GRANT SELECT ON {} TO {role};", sql::qualified(schema, name)),
    }
}
