//! Which tables a publisher offers, which of them may be taken, and how that is recorded.
//!
//! This does what CREATE SUBSCRIPTION and REFRESH PUBLICATION do in subscriptioncmds.c, but in the
//! caller's transaction and on a connection that can be cancelled.

use pgmig_core::secret::shown;
use std::collections::{BTreeSet, HashSet};

use pgmig_core::limits::ELEMENTS;
use pgmig_core::wire::Row;
use pgmig_core::{name, sql};
use pgrx::pg_sys::Oid;

use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::ffi::catalog;
use crate::publisher::{self, Publisher};
use crate::query;
use crate::table::{Table, label};

pub fn check_names(publications: &[String]) -> Result<()> {
    publications.iter().try_for_each(|name| name::check_subscribed_publication(name))
}

/// Asks the publisher which tables the publications have.
pub fn published(
    publisher: &mut Publisher,
    publications: &[String],
) -> Result<Vec<(String, String)>> {
    check_publications(publisher, publications)?;
    let rows = publisher.query(&query_text(publisher.major(), publications))?;
    if rows.len() > ELEMENTS {
        return Err(Error::new(Kind::LimitExceeded, "the publications have too many tables")
            .detail(format!("They have {}; the limit is {ELEMENTS}.", rows.len()))
            .hint("Use several subscriptions with fewer tables each."));
    }
    let mut tables = BTreeSet::new();
    for row in rows.iter() {
        let (schema, name) = schema_and_name(row)?;
        let text = label(&schema, &name);
        if !tables.insert((schema, name)) {
            return Err(Error::new(
                Kind::FeatureNotSupported,
                format!("cannot use different column lists for table \"{text}\" in different publications"),
            )
            .hint("Give the table the same column list in each publication."));
        }
    }
    Ok(tables.into_iter().collect())
}

/// The query for the tables of some publications.
pub fn query_text(major: u16, publications: &[String]) -> String {
    let names = sql::literals(publications);
    // As fetch_table_list does: from 16 on, a partition whose root is published through another of
    // the publications is left out.
    match major {
        16.. => format!(
            "SELECT DISTINCT n.nspname, c.relname, gpt.attrs \
               FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
               JOIN (SELECT (pg_catalog.pg_get_publication_tables(VARIADIC pg_catalog.array_agg(p.pubname::pg_catalog.text))).* \
                       FROM pg_catalog.pg_publication p WHERE p.pubname IN ({names})) AS gpt \
                 ON gpt.relid OPERATOR(pg_catalog.=) c.oid"
        ),
        15 => format!(
            "SELECT DISTINCT t.schemaname, t.tablename, t.attnames \
               FROM pg_catalog.pg_publication_tables t WHERE t.pubname IN ({names})"
        ),
        _ => format!(
            "SELECT DISTINCT t.schemaname, t.tablename \
               FROM pg_catalog.pg_publication_tables t WHERE t.pubname IN ({names})"
        ),
    }
}

fn schema_and_name(row: Row) -> Result<(String, String)> {
    match (row.get(0), row.get(1)) {
        (Some(schema), Some(name)) => Ok((schema.to_owned(), name.to_owned())),
        _ => Err(publisher::nonsense()),
    }
}

fn check_publications(publisher: &mut Publisher, publications: &[String]) -> Result<()> {
    match missing_publication(publisher, publications)? {
        Some(name) => Err(Error::new(
            Kind::UndefinedObject,
            format!("publication \"{}\" does not exist on the publisher", shown(&name)),
        )
        .hint("Create it there first, in the database that the connection string names.")),
        None => Ok(()),
    }
}

/// One of these publications that the publisher does not have.
pub fn missing_publication(
    publisher: &mut Publisher,
    publications: &[String],
) -> Result<Option<String>> {
    let rows = publisher.query(&format!(
        "SELECT p.pubname FROM pg_catalog.pg_publication p WHERE p.pubname IN ({})",
        sql::literals(publications)
    ))?;
    let there: BTreeSet<&str> = rows.iter().filter_map(|row| row.get(0)).collect();
    Ok(publications.iter().find(|name| !there.contains(name.as_str())).cloned())
}

/// Finds each table here, locks it, and makes sure that the caller may have rows put into it.
pub fn targets(published: &[(String, String)], caller: Caller) -> Result<HashSet<Oid>> {
    published.iter().map(|(schema, name)| target(schema, name, caller)).collect()
}

fn target(schema: &str, name: &str, caller: Caller) -> Result<Oid> {
    let table = Table::lock(schema, name)?.ok_or_else(|| {
        Error::new(
            Kind::UndefinedTable,
            format!("table \"{}\" of the publication does not exist here", label(schema, name)),
        )
        .hint("Load the schema first, for example with pg_dump --schema-only on the publisher.")
    })?;
    table.check_kind()?;
    if caller.is_superuser() || caller.may_apply_as(table.owner) {
        return Ok(table.oid);
    }
    Err(table.not_owner(caller))
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
        catalog::add_subscription_relation(subscription, *table, start.state());
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

    /// Whether table sync may have a slot on the publisher: none is left once the state is s or r.
    pub fn may_have_slot(&self) -> bool {
        !matches!(self.state, 'r' | 's')
    }
}

pub fn recorded(subscription: Oid) -> Vec<Recorded> {
    let relations = catalog::subscription_relations(subscription).into_iter();
    relations.map(|(table, state)| Recorded { table, state }).collect()
}

/// What tells this cluster from others, but not from its physical copies.
pub fn system_identifier() -> Result<String> {
    let found = query::column(
        "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()",
        &[],
    )?;
    Ok(found.into_iter().next().unwrap_or_default())
}
