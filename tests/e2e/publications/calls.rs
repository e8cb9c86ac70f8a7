//! The calls that these tests make, and what they expect.

use postgres::Error;
use postgres::error::{DbError, SqlState};
use postgres::types::ToSql;
use serde_json::Value;

use crate::source::Source;
use crate::support::Session;

pub const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

pub const ALL: &str = "INSERT, update,DELETE,Truncate";

pub fn create(
    session: &mut Session,
    name: &str,
    publish: &str,
    tables: &[&str],
) -> Result<(), Error> {
    let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&name, &publish];
    arguments.extend(tables.iter().map(|table| table as &(dyn ToSql + Sync)));
    session.call("pg_create_publication", &arguments).map(drop)
}

pub fn create_for_all(session: &mut Session, name: &str, publish: &str) -> Result<(), Error> {
    session.call("pg_create_publication_for_all_tables", &[&name, &publish]).map(drop)
}

pub fn create_as(session: &mut Session, name: &str, spec: &Value) -> Result<(), Error> {
    session.call("create_publication", &[&name, spec]).map(drop)
}

pub fn add(session: &mut Session, name: &str, table: &str) -> Result<(), Error> {
    session.call("alter_publication_add_tables", &[&name, &table]).map(drop)
}

pub fn remove(session: &mut Session, name: &str, table: &str) -> Result<(), Error> {
    session.call("alter_publication_drop_tables", &[&name, &table]).map(drop)
}

pub fn drop_it(session: &mut Session, name: &str) -> Result<(), Error> {
    session.call("drop_publication", &[&name]).map(drop)
}

pub fn warnings(session: &mut Session) -> Vec<DbError> {
    session.notices().into_iter().filter(|notice| notice.severity() == "WARNING").collect()
}

pub fn detail(report: &DbError) -> &str {
    report.detail().unwrap_or_default()
}

#[track_caller]
pub fn assert_nothing_published(source: &Source) {
    assert_eq!(source.publications(), [""; 0]);
}
