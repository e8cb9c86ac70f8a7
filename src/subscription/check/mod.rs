//! What can be known before tables are subscribed, and was found out too late: rows that the copy
//! leaves out, changes that never come, a copy that can't end. One file for each check, with what it
//! asks and how it judges.
//!
//! The publisher is asked in the two queries that are needed anyway (`tables.rs`): a check adds a
//! column to one of them. An answer that is missing or makes no sense counts as "nothing is wrong":
//! a publisher that lies harms its own rows only.

pub mod extension_tables;
mod generated_columns;
pub mod large_objects;
mod other_origins;
pub mod owner_login;
mod reading;
mod row_security;
mod rows_here;
mod time_limits;
pub mod unlogged;
pub mod versions;

use pgmig_core::secret::shown;
use pgmig_core::wire::Row;
use pgrx::PgLogLevel;
use pgrx::pg_sys::Oid;

use super::tables::Offered;
use crate::error::{Error, Result, report};
use crate::publisher::Publisher;
use crate::table::label;

pub use extension_tables::of_extension;

/// How many objects a message names.
pub const NAMED: usize = 5;

/// What the publisher says of itself and of the publications together.
#[derive(Default)]
pub struct Server {
    has_large_objects: bool,
    /// Limits of time that are set, with their values.
    time_limits: Vec<(&'static str, String)>,
    has_unlogged: bool,
    subscribes: bool,
    /// Tables that the publications leave out since they are unlogged.
    pub unlogged: Vec<String>,
}

impl Server {
    /// As many columns as `read` takes.
    pub fn columns() -> String {
        let limits = time_limits::COLUMNS.join(", ");
        format!("{}, {}, {}, {limits}", large_objects::COLUMN, unlogged::ANY, other_origins::ANY)
    }

    pub fn read(row: &Row, first: usize) -> Self {
        Self {
            has_large_objects: is_true(row, first),
            has_unlogged: is_true(row, first + 1),
            subscribes: is_true(row, first + 2),
            time_limits: time_limits::read(row, first + 3),
            unlogged: Vec::new(),
        }
    }

    /// What is still to be asked for: the names of the unlogged tables that are left out.
    pub fn further_query(&self, major: u16, publications: &str) -> Option<String> {
        self.has_unlogged.then(|| format!("SELECT {}", unlogged::left_out(major, publications)))
    }
}

/// What the publisher says of one table.
#[derive(Default)]
pub struct Facts {
    has_row_security: bool,
    /// What stands in the way of reading it.
    unreadable: Option<reading::Obstacle>,
    has_unlogged: bool,
    is_subscribed: bool,
    /// Generated columns: those that are published, and those that are not.
    generated: [Vec<String>; 2],
}

impl Facts {
    /// As many columns as `read` takes, of a table `l` (`tables.rs`, `listed`).
    pub fn columns(major: u16, server: &Server) -> String {
        let where_any = |any: bool, column: &str| if any { column } else { "false" }.to_owned();
        [
            row_security::COLUMN.to_owned(),
            reading::column(major),
            where_any(server.has_unlogged, unlogged::COLUMN),
            where_any(server.subscribes, other_origins::COLUMN),
            generated_columns::column(major, true),
            generated_columns::column(major, false),
        ]
        .join(", ")
    }

    pub fn read(row: &Row, first: usize) -> Self {
        Self {
            has_row_security: is_true(row, first),
            unreadable: row.get(first + 1).and_then(reading::Obstacle::parse),
            has_unlogged: is_true(row, first + 2),
            is_subscribed: is_true(row, first + 3),
            generated: [names(row, first + 4), names(row, first + 5)],
        }
    }
}

/// The condition that a column `a` of table `l` is published.
fn is_published(major: u16) -> &'static str {
    match major {
        18.. => "a.attnum OPERATOR(pg_catalog.=) ANY (l.columns)",
        15..=17 => {
            "a.attnum OPERATOR(pg_catalog.=) ANY (l.columns) \
             AND a.attgenerated OPERATOR(pg_catalog.=) ''"
        }
        _ => "a.attgenerated OPERATOR(pg_catalog.=) ''",
    }
}

fn is_true(row: &Row, column: usize) -> bool {
    row.get(column) == Some("t")
}

/// A list of names as JSON.
pub fn names(row: &Row, column: usize) -> Vec<String> {
    row.get(column).and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

/// A table that is to be subscribed.
pub struct Entry<'a> {
    pub offered: &'a Offered,
    /// The table here.
    pub target: Oid,
}

/// What is judged.
pub struct Subject<'a> {
    pub server: &'a Server,
    /// Those that the subscription does not have yet.
    pub tables: &'a [Entry<'a>],
    pub copy_data: bool,
    /// Whether only changes without an origin are wanted.
    pub origin_none: bool,
    /// The role and database of the connection.
    pub role: &'a str,
    pub database: &'a str,
}

impl<'a> Subject<'a> {
    pub fn new(publisher: &'a Publisher, server: &'a Server, tables: &'a [Entry<'a>]) -> Self {
        let (role, database) = (publisher.role(), publisher.database());
        Self { server, tables, copy_data: true, origin_none: false, role, database }
    }

    /// The names of those tables that a fact holds for.
    fn tables_with(&self, fact: impl Fn(&Facts) -> bool) -> Vec<String> {
        let found = self.tables.iter().filter(|table| fact(&table.offered.facts));
        found.map(Entry::label).collect()
    }
}

impl Entry<'_> {
    fn label(&self) -> String {
        label(&self.offered.schema, &self.offered.name)
    }
}

/// What a check found.
pub enum Finding {
    /// Rows would be lost or wrong, or the copy could never end.
    Refusal(Error),
    /// They may be.
    Warning(Error),
}

type Check = fn(&Subject) -> Result<Option<Finding>>;

/// Refusals first.
const CHECKS: [Check; 9] = [
    row_security::judge,
    reading::judge,
    unlogged::judge_published,
    generated_columns::judge,
    time_limits::judge,
    unlogged::judge_left_out,
    large_objects::judge,
    other_origins::judge,
    extension_tables::judge,
];

/// Refuses, or warns.
pub fn run(subject: &Subject) -> Result<()> {
    if subject.tables.is_empty() {
        return Ok(());
    }
    for check in CHECKS.into_iter().chain([rows_here::judge as Check]) {
        match check(subject)? {
            Some(Finding::Refusal(error)) => return Err(error),
            Some(Finding::Warning(error)) => report(PgLogLevel::WARNING, error),
            None => {}
        }
    }
    Ok(())
}

/// `table "a"`, or how many.
pub fn tables_text(tables: &[String]) -> String {
    match tables {
        [table] => format!("table \"{}\"", shown(table)),
        _ => format!("{} tables", tables.len()),
    }
}

/// The first names of a list, as a sentence's end.
pub fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| shown(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
