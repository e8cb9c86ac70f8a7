//! Which of the published tables the caller may subscribe to, and how they are recorded.
//!
//! This does what CREATE SUBSCRIPTION and REFRESH PUBLICATION do in subscriptioncmds.c, but in the
//! caller's transaction and on a connection that can be cancelled.

use pgmig_core::name;
use pgmig_core::secret::shown;
use pgrx::pg_sys::Oid;

use crate::argument::{self, Texts, not_null, required};
use crate::caller::Caller;
use crate::check::{self, Entry, Offer, Offered};
use crate::error::{Error, Kind, Result, invalid};
use crate::ffi::subscription as catalog;
use crate::server::query;
use crate::server::table::{Table, label};

/// Reads a list of publications: no NULL, and at least one name.
pub fn publication_names(argument: &str, names: Texts) -> Result<Vec<String>> {
    let names = required(argument, names)?;
    let names: Option<Vec<String>> = names.into_iter().collect();
    let names = not_null(&format!("{argument}[]"), names)?;
    if names.is_empty() {
        return Err(invalid(format!("argument \"{argument}\" must name at least one publication")));
    }
    Ok(names)
}

pub fn check_names(publications: &[String]) -> Result<()> {
    publications.iter().try_for_each(|name| name::check_subscribed_publication(name))
}

/// Finds each table in this database, locks it, and checks that the caller's apply worker may write to
/// it.
pub fn targets<'a>(offer: &'a Offer, caller: Caller) -> Result<Vec<Entry<'a>>> {
    let entry = |offered: &'a Offered| {
        Ok(Entry { offered, target: target(&offered.schema, &offered.name, caller)? })
    };
    offer.tables.iter().map(entry).collect()
}

fn target(schema: &str, name: &str, caller: Caller) -> Result<Oid> {
    let text = label(schema, name);
    argument::require_readable(&text).map_err(|error| {
        error.detail(format!("The publication has table \"{}\".", shown(&text)))
    })?;
    let table = Table::lock(schema, name)?.ok_or_else(|| {
        Error::new(
            Kind::UndefinedTable,
            format!("table \"{text}\" of the publication does not exist here"),
        )
        .hint("Load the schema first, for example with pg_dump --schema-only on the publisher.")
    })?;
    table.check_kind()?;
    if caller.is_superuser() || caller.may_apply_as(table.owner) {
        return Ok(table.oid);
    }
    Err(check::of_extension(&table, table.not_owner(caller))?)
}

/// How a newly subscribed table starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Copy,
    Ready,
}

impl Start {
    pub fn from_copy_data(copy_data: bool) -> Self {
        if copy_data { Self::Copy } else { Self::Ready }
    }

    fn state(self) -> u8 {
        match self {
            Self::Copy => b'i',
            Self::Ready => b'r',
        }
    }
}

pub fn add<'a>(subscription: Oid, tables: impl IntoIterator<Item = &'a Oid>, start: Start) {
    for table in tables {
        catalog::add_table(subscription, *table, start.state());
    }
}

/// A table that a subscription has.
pub struct Recorded {
    pub table: Oid,
    state: char,
}

impl Recorded {
    pub fn is_ready(&self) -> bool {
        self.state == 'r'
    }

    /// Whether table sync may have a slot on the publisher. It has none in the states s and r.
    pub fn may_have_slot(&self) -> bool {
        !matches!(self.state, 'r' | 's')
    }
}

pub fn recorded(subscription: Oid) -> Vec<Recorded> {
    let relations = catalog::tables(subscription).into_iter();
    relations.map(|(table, state)| Recorded { table, state }).collect()
}

/// Identifies this cluster, but does not tell it from its physical copies.
pub fn system_identifier() -> Result<String> {
    let found = query::column(
        "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()",
        &[],
    )?;
    Ok(found.into_iter().next().unwrap_or_default())
}
