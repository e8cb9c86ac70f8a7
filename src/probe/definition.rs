//! The subscriptions of this database as pg_subscription defines them.

use pgmig_core::limits::{self, STORED_PUBLICATIONS, TEXT};
use pgrx::pg_sys::Oid;

use crate::error::{Error, Kind, Result};
use crate::server::{query, text};

/// A subscription of this database, and how to reach its publisher.
pub struct Definition {
    pub oid: Oid,
    pub owner: Oid,
    pub is_superusers: bool,
    /// `None` if it is longer than `limits::TEXT`.
    pub conninfo: Option<String>,
    pub slot: Option<String>,
    /// `None` if it is longer than `limits::STORED_PUBLICATIONS`.
    pub publications: Option<Vec<String>>,
}

pub fn definitions() -> Result<Vec<Definition>> {
    query::read_again(
        &format!(
            "SELECT s.oid, s.subowner, r.rolsuper, {conninfo}, {slot}, {publications} \
               FROM pg_catalog.pg_subscription s \
               JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.subowner \
               JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid \
              WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
            conninfo = text::as_utf8(&format!(
                "CASE WHEN pg_catalog.octet_length(s.subconninfo) OPERATOR(pg_catalog.<=) {TEXT} \
                 THEN s.subconninfo END"
            )),
            slot = text::as_utf8("s.subslotname::pg_catalog.text"),
            // pg_column_size() is the stored size, perhaps compressed: the value is not read for it.
            publications = text::as_utf8(&format!(
                "CASE WHEN pg_catalog.pg_column_size(s.subpublications) OPERATOR(pg_catalog.<=) {STORED_PUBLICATIONS} \
                 THEN pg_catalog.to_json(s.subpublications)::pg_catalog.text END"
            )),
        ),
        |row| {
            let publications = row.get::<Vec<u8>>(6)?;
            Ok(Definition {
                oid: query::not_null(&row, 1)?,
                owner: query::not_null(&row, 2)?,
                is_superusers: query::not_null(&row, 3)?,
                conninfo: text::from_bytes(row.get(4)?),
                slot: text::from_bytes(row.get(5)?),
                publications: publications.and_then(|list| serde_json::from_slice(&list).ok()),
            })
        },
    )
}

/// For a list of publications that is too long to be used.
pub fn too_many_publications() -> Error {
    Error::new(Kind::LimitExceeded, "the subscription has too many publications")
        .detail(format!("The limit is {} bytes for their names together.", limits::PUBLICATIONS))
        .hint("Use fewer publications with more tables each.")
}
