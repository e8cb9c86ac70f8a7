//! Generated columns. A publisher of 18 or later can publish stored generated columns. Three cases go
//! wrong: a subscriber before 18 does not copy them; a target column that is generated cannot take
//! their values; a column that is generated on the source and not published stays empty on the target
//! unless it is generated there too.

use std::collections::HashMap;

use pgrx::pg_sys::Oid;

use super::facts::{Entry, Subject};
use super::finding::{Finding, listed};
use super::published::is_published;
use crate::error::{Error, Kind, Result};
use crate::ffi::major::{self, MAJOR};
use crate::notice::Notice;
use crate::server::{query, text};

/// The generated columns that are published, or that are not, as JSON.
pub fn column(major: u16, published: bool) -> String {
    let wanted = if published { "" } else { "NOT" };
    format!(
        "(SELECT pg_catalog.array_to_json(pg_catalog.array_agg(a.attname ORDER BY a.attnum)) \
            FROM pg_catalog.pg_attribute a \
           WHERE a.attrelid OPERATOR(pg_catalog.=) l.oid AND a.attnum OPERATOR(pg_catalog.>) 0 \
             AND NOT a.attisdropped AND a.attgenerated OPERATOR(pg_catalog.<>) '' \
             AND {wanted} ({}))",
        is_published(major)
    )
}

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let tables = subject.tables.iter();
    let tables: Vec<_> =
        tables.filter(|table| table.offered.facts.generated.concat() != [""; 0]).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    let here = columns_here(&tables)?;
    // Columns by their index in `generated` and by whether the target's column is generated.
    let columns = |place: usize, generated: &[Option<bool>]| -> Vec<String> {
        let all = tables.iter().flat_map(|table| {
            let names = table.offered.facts.generated[place].iter();
            names.map(move |name| (table, name))
        });
        let found = all.filter(|(table, name)| {
            generated.contains(&here.get(&(table.target, (*name).clone())).copied())
        });
        found.map(|(table, name)| format!("{}.{name}", table.label())).collect()
    };
    let generated_twice = columns(0, &[Some(true)]);
    let not_copied = columns(0, &[Some(false), None]);
    let not_published = columns(1, &[Some(false)]);
    Ok(if !generated_twice.is_empty() {
        Some(Finding::Refusal(incompatible(&generated_twice)))
    } else if !not_copied.is_empty() && subject.copy_data && !major::GENERATED_COLUMNS_REPLICATE {
        Some(Finding::Refusal(lost_by_copy(&not_copied)))
    } else {
        (!not_published.is_empty()).then(|| Finding::Warning(left_empty(&not_published)))
    })
}

/// The columns of the tables here, and whether each is generated.
fn columns_here(tables: &[&Entry]) -> Result<HashMap<(Oid, String), bool>> {
    let oids: Vec<Oid> = tables.iter().map(|table| table.target).collect();
    let rows = query::read(
        &format!(
            "SELECT a.attrelid, {}, a.attgenerated OPERATOR(pg_catalog.<>) '' \
               FROM pg_catalog.pg_attribute a \
              WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ($1) \
                AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped",
            text::as_utf8("a.attname::pg_catalog.text")
        ),
        &[oids.into()],
        |row| {
            let table: Oid = query::not_null(&row, 1)?;
            Ok(((table, text::not_null(&row, 2)?), query::not_null(&row, 3)?))
        },
    )?;
    Ok(rows.into_iter().collect())
}

const LEAVE_OUT: &str = "Publish without generated columns: ALTER PUBLICATION … SET \
                         (publish_generated_columns = none), or a column list without them.";

fn incompatible(columns: &[String]) -> Error {
    Error::new(Kind::ObjectNotInPrerequisiteState, "columns are published and generated here too")
        .detail(format!("No value can be put into them: {}.", listed(columns)))
        .hint(LEAVE_OUT)
}

fn lost_by_copy(columns: &[String]) -> Error {
    Error::new(
        Kind::FeatureNotSupported,
        format!("PostgreSQL {MAJOR} does not copy published generated columns"),
    )
    .detail(format!("The rows that exist would lack these values: {}.", listed(columns)))
    .hint(format!("{LEAVE_OUT} Or subscribe with copy_data = false."))
}

fn left_empty(columns: &[String]) -> Notice {
    Notice::warning("generated columns are not published and not generated here")
        .detail(format!("They get no values: {}.", listed(columns)))
        .hint(
            "Generate them here as on the publisher. From 18 on it can publish stored ones: \
             publish_generated_columns = stored.",
        )
}
