//! Asks a publisher which tables its publications have, and the facts for the checks. The tables need
//! two queries anyway; each check adds columns to one of them. A missing or invalid value counts as "no
//! fault": a publisher that lies harms only its own rows.

use std::collections::BTreeMap;

use pgmig_core::limits::ELEMENTS;
use pgmig_core::secret::shown;
use pgmig_core::sql;
use pgmig_core::wire::Row;

use super::facts::{Facts, Obstacle, Offer, Offered, Server};
use super::{
    generated_columns, large_objects, other_origins, reading, row_security, time_limits, unlogged,
};
use crate::error::{Error, Kind, Result};
use crate::publisher::{self, Publisher, tables};
use crate::server::table::label;

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
        if tables.insert((schema, name), read_facts(&row, 2)).is_some() {
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

/// The same, with the columns of the checks.
fn facts_query(major: u16, publications: &[String], server: &Server) -> String {
    let (facts, listed) = (facts_columns(major, server), tables::list(major, publications, true));
    format!("SELECT l.schema, l.name, {facts} FROM ({listed}) l")
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
        server_columns()
    ))?;
    match tables::first_missing(&rows, publications) {
        Some(name) => Err(Error::new(
            Kind::UndefinedObject,
            format!("publication \"{}\" does not exist on the publisher", shown(name)),
        )
        .hint("Create it there first, in the database that the connection string names.")),
        None => {
            let mut server = rows.first().map(|row| read_server(&row, 1)).unwrap_or_default();
            if let Some(further) = further_query(&server, publisher.major(), &names) {
                let rows = publisher.query(&further)?;
                server.unlogged =
                    rows.first().map(|row| list_of_names(&row, 0)).unwrap_or_default();
            }
            Ok(server)
        }
    }
}

/// Columns about the publisher itself: as many as `read_server` takes.
fn server_columns() -> String {
    let limits = time_limits::COLUMNS.join(", ");
    format!("{}, {}, {}, {limits}", large_objects::COLUMN, unlogged::ANY, other_origins::ANY)
}

fn read_server(row: &Row, first: usize) -> Server {
    Server {
        has_large_objects: is_true(row, first),
        has_unlogged: is_true(row, first + 1),
        subscribes: is_true(row, first + 2),
        time_limits: time_limits::read(row, first + 3),
        unlogged: Vec::new(),
    }
}

/// A further query, for the names of unlogged tables that the publications leave out.
fn further_query(server: &Server, major: u16, publications: &str) -> Option<String> {
    server.has_unlogged.then(|| format!("SELECT {}", unlogged::left_out(major, publications)))
}

/// Columns about a table `l`, a row of `publisher::tables::list`: as many as `read_facts` takes.
fn facts_columns(major: u16, server: &Server) -> String {
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

fn read_facts(row: &Row, first: usize) -> Facts {
    Facts {
        has_row_security: is_true(row, first),
        unreadable: row.get(first + 1).and_then(Obstacle::parse),
        has_unlogged: is_true(row, first + 2),
        is_subscribed: is_true(row, first + 3),
        generated: [list_of_names(row, first + 4), list_of_names(row, first + 5)],
    }
}

fn is_true(row: &Row, column: usize) -> bool {
    row.get(column) == Some("t")
}

/// A list of names as JSON.
fn list_of_names(row: &Row, column: usize) -> Vec<String> {
    row.get(column).and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}
