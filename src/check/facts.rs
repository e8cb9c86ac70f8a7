//! The facts that the checks judge: what a publisher says about itself and its tables, and the tables
//! of the target.

use pgrx::pg_sys::Oid;

use crate::publisher::Publisher;
use crate::server::table::label;

/// What the publisher says of itself and of the publications together.
#[derive(Default)]
pub struct Server {
    pub has_large_objects: bool,
    /// The time limits that are set, with their values.
    pub time_limits: Vec<(&'static str, String)>,
    pub has_unlogged: bool,
    pub subscribes: bool,
    /// Tables that the publications leave out since they are unlogged.
    pub unlogged: Vec<String>,
}

/// What the publisher says of one table.
#[derive(Default)]
pub struct Facts {
    pub has_row_security: bool,
    /// Why the connection's role cannot read the table.
    pub unreadable: Option<Obstacle>,
    pub has_unlogged: bool,
    pub is_subscribed: bool,
    /// Generated columns: those that are published, and those that are not.
    pub generated: [Vec<String>; 2],
}

/// What keeps the connection's role from reading a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// USAGE on the schema is missing.
    Schema,
    /// SELECT is missing on the table, or on one of the columns that are published.
    Table,
}

impl Obstacle {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "schema" => Some(Self::Schema),
            "table" => Some(Self::Table),
            _ => None,
        }
    }
}

/// A published table.
pub struct Offered {
    pub schema: String,
    pub name: String,
    pub facts: Facts,
}

/// The published tables, in the order of their names, and facts about the publisher.
pub struct Offer {
    pub tables: Vec<Offered>,
    pub server: Server,
}

/// A table that is to be subscribed.
pub struct Entry<'a> {
    pub offered: &'a Offered,
    /// The table of the target.
    pub target: Oid,
}

/// The subject of the checks.
pub struct Subject<'a> {
    pub server: &'a Server,
    /// The tables that the subscription does not have yet.
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

    /// The names of the tables for which `fact` is true.
    pub fn tables_with(&self, fact: impl Fn(&Facts) -> bool) -> Vec<String> {
        let found = self.tables.iter().filter(|table| fact(&table.offered.facts));
        found.map(Entry::label).collect()
    }
}

impl Entry<'_> {
    pub fn label(&self) -> String {
        label(&self.offered.schema, &self.offered.name)
    }
}
