//! Time limits of the connection's role on the publisher. Table sync copies a table in one statement
//! and one transaction. A limit ends it, and it starts again from the beginning, for ever.

use pgmig_core::sql;
use pgmig_core::wire::Row;

use pgmig_core::secret::shown;

use super::facts::Subject;
use super::finding::Finding;
use crate::error::Result;
use crate::notice::Notice;

const LIMITS: [&str; 3] =
    ["statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"];

/// Each setting's value, NULL if it limits nothing. Core's connections get the same values as ours,
/// because neither sets them. idle_in_transaction_session_timeout counts while this server handles the
/// last rows that were sent, so a minute is enough.
pub const COLUMNS: [&str; 3] = [
    "NULLIF(pg_catalog.current_setting('statement_timeout'), '0')",
    "NULLIF(pg_catalog.current_setting('transaction_timeout', true), '0')",
    "CASE WHEN pg_catalog.current_setting('idle_in_transaction_session_timeout')::pg_catalog.interval \
               OPERATOR(pg_catalog.<) '1min'::pg_catalog.interval \
          THEN NULLIF(pg_catalog.current_setting('idle_in_transaction_session_timeout'), '0') END",
];

pub fn read(row: &Row, first: usize) -> Vec<(&'static str, String)> {
    let limits = LIMITS.into_iter().enumerate();
    limits.filter_map(|(at, name)| Some((name, row.get(first + at)?.to_owned()))).collect()
}

pub fn judge(subject: &Subject) -> Result<Option<Finding>> {
    let limits = &subject.server.time_limits;
    if limits.is_empty() || !subject.copy_data {
        return Ok(None);
    }
    let (role, database) = (sql::ident(subject.role), sql::ident(subject.database));
    let values: Vec<_> =
        limits.iter().map(|(name, value)| format!("{name} = {}", shown(value))).collect();
    let remedies: Vec<_> = limits
        .iter()
        .map(|(name, _)| format!("ALTER ROLE {role} IN DATABASE {database} SET {name} = 0;"))
        .collect();
    let warning =
        Notice::warning(format!("the publisher limits the time of a copy: {}", values.join(", ")))
            .detail(
                "The copy of a table that takes longer is ended and begins anew, again and again.",
            )
            .hint(format!("Run this there: {}", remedies.join(" ")));
    Ok(Some(Finding::Warning(warning)))
}
