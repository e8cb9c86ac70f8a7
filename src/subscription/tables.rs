//! Which tables a publisher offers, which of them may be taken, and how that is recorded.
//!
//! This does what CREATE SUBSCRIPTION and REFRESH PUBLICATION do in subscriptioncmds.c, but in the
//! caller's transaction and on a connection that can be cancelled.

use pgmig_core::secret::shown;
use std::collections::{BTreeMap, BTreeSet};

use pgmig_core::limits::ELEMENTS;
use pgmig_core::wire::{Row, Rows};
use pgmig_core::{name, sql};
use pgrx::pg_sys::Oid;

use super::check::{self, Entry, Facts, Server};
use crate::argument;
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::ffi::catalog;
use crate::publisher::{self, Publisher};
use crate::query;
use crate::table::{Table, label};

pub fn check_names(publications: &[String]) -> Result<()> {
    publications.iter().try_for_each(|name| name::check_subscribed_publication(name))
}

/// A table that the publications have.
pub struct Offered {
    pub schema: String,
    pub name: String,
    pub facts: Facts,
}

/// What a publisher offers: the tables, in the order of their names, and what is to be known of it.
pub struct Offer {
    pub tables: Vec<Offered>,
    pub server: Server,
}

/// Asks the publisher which tables the publications have.
pub fn offer(publisher: &mut Publisher, publications: &[String]) -> Result<Offer> {
    let server = check_publications(publisher, publications)?;
    let rows = publisher.query(&facts_query(publisher.major(), publications, &server))?;
    if rows.len() > ELEMENTS {
        return Err(Error::new(Kind::LimitExceeded, "the publications have too many tables")
            .detail(format!("They have {}; the limit is {ELEMENTS}.", rows.len()))
            .hint("Use several subscriptions with fewer tables each."));
    }
    let mut tables = BTreeMap::new();
    for row in rows.iter() {
        let (schema, name) = schema_and_name(row)?;
        let text = label(&schema, &name);
        if tables.insert((schema, name), Facts::read(&row, 2)).is_some() {
            return Err(Error::new(
                Kind::FeatureNotSupported,
                format!("cannot use different column lists for table \"{text}\" in different publications"),
            )
            .hint("Give the table the same column list in each publication."));
        }
    }
    let offered = |((schema, name), facts)| Offered { schema, name, facts };
    Ok(Offer { tables: tables.into_iter().map(offered).collect(), server })
}

/// The query for the tables of some publications.
pub fn query_text(major: u16, publications: &[String]) -> String {
    format!("SELECT l.schema, l.name FROM ({}) l", listed(major, publications, false))
}

/// The same with what is checked of each table.
fn facts_query(major: u16, publications: &[String], server: &Server) -> String {
    let (facts, listed) = (Facts::columns(major, server), listed(major, publications, true));
    format!("SELECT l.schema, l.name, {facts} FROM ({listed}) l")
}

/// SQL for the tables of some publications, `with_columns` once for each of their column lists: as
/// fetch_table_list does, but that no major has a partition whose root is published through another of the
/// publications. Its changes come as the root's, and the copy of the root has its rows.
fn listed(major: u16, publications: &[String], with_columns: bool) -> String {
    const NONE: &str = "NULL::pg_catalog.int2[]";
    const NAMES: &str = "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) gpt.relid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";
    const TABLE: &str = "c.oid, n.oid AS namespace, n.nspname AS schema, c.relname AS name";
    let names = sql::literals(publications);
    let columns = match major {
        16.. => {
            let columns = if with_columns { "gpt.attrs::pg_catalog.int2[]" } else { NONE };
            return format!(
                "SELECT DISTINCT {TABLE}, {columns} AS columns \
                   FROM (SELECT (pg_catalog.pg_get_publication_tables(VARIADIC pg_catalog.array_agg(p.pubname::pg_catalog.text))).* \
                           FROM pg_catalog.pg_publication p WHERE p.pubname IN ({names})) AS gpt {NAMES}"
            );
        }
        15 if with_columns => {
            "ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a \
                    WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid \
                      AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
                      AND (gpt.attrs IS NULL OR a.attnum OPERATOR(pg_catalog.=) ANY (gpt.attrs)) \
                    ORDER BY a.attnum)"
        }
        _ => NONE,
    };
    format!(
        "WITH offered AS ( \
            SELECT DISTINCT {TABLE}, {columns} AS columns, c.relkind, c.relispartition \
              FROM pg_catalog.pg_publication p \
             CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) gpt {NAMES} \
             WHERE p.pubname IN ({names})) \
         SELECT o.* FROM offered o \
          WHERE NOT (o.relispartition AND EXISTS ( \
                SELECT FROM pg_catalog.pg_partition_ancestors(o.oid) a(oid) \
                 WHERE a.oid OPERATOR(pg_catalog.<>) o.oid \
                   AND a.oid IN (SELECT r.oid FROM offered r \
                                  WHERE r.relkind OPERATOR(pg_catalog.=) 'p')))"
    )
}

fn schema_and_name(row: Row) -> Result<(String, String)> {
    match (row.get(0), row.get(1)) {
        (Some(schema), Some(name)) => Ok((schema.to_owned(), name.to_owned())),
        _ => Err(publisher::nonsense()),
    }
}

fn check_publications(publisher: &mut Publisher, publications: &[String]) -> Result<Server> {
    let names = sql::literals(publications);
    let rows = publisher.query(&format!(
        "SELECT p.pubname, {} FROM pg_catalog.pg_publication p WHERE p.pubname IN ({names})",
        Server::columns()
    ))?;
    match first_missing(&rows, publications) {
        Some(name) => Err(Error::new(
            Kind::UndefinedObject,
            format!("publication \"{}\" does not exist on the publisher", shown(name)),
        )
        .hint("Create it there first, in the database that the connection string names.")),
        None => {
            let mut server = rows.first().map(|row| Server::read(&row, 1)).unwrap_or_default();
            if let Some(further) = server.further_query(publisher.major(), &names) {
                let rows = publisher.query(&further)?;
                server.unlogged = rows.first().map(|row| check::names(&row, 0)).unwrap_or_default();
            }
            Ok(server)
        }
    }
}

/// The query for the tables of some publications, and for those of the publications that exist: these
/// come as names without a schema.
pub fn tables_and_publications_query(major: u16, publications: &[String]) -> String {
    format!(
        "{} UNION ALL SELECT NULL, p.pubname FROM pg_catalog.pg_publication p WHERE p.pubname IN ({})",
        query_text(major, publications),
        sql::literals(publications)
    )
}

/// One of these publications that the publisher does not have, by an answer to that query.
pub fn missing_publication<'a>(answer: &Rows, publications: &'a [String]) -> Option<&'a String> {
    let named = answer.iter().filter(|row| row.get(0).is_none());
    let there: BTreeSet<&str> = named.filter_map(|row| row.get(1)).collect();
    publications.iter().find(|name| !there.contains(name.as_str()))
}

fn first_missing<'a>(there: &Rows, publications: &'a [String]) -> Option<&'a String> {
    let there: BTreeSet<&str> = there.iter().filter_map(|row| row.get(0)).collect();
    publications.iter().find(|name| !there.contains(name.as_str()))
}

/// Finds each table here, locks it, and makes sure that the caller may have rows put into it.
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
